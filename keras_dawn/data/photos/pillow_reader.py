"""Photos that the fast decoder does not read, by Pillow: PNG, WebP, AVIF, TIFF, CMYK, …"""

import functools
import io
import warnings

from keras_dawn.data.photos.unreadable import UnreadablePhotoError

import numpy as np
from PIL import Image

# Pillow tries all formats that it knows otherwise: PostScript would start another program.
FORMATS = (
    "JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA",
    "PCX", "SGI", "QOI", "ICO",
)  # fmt: skip
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".tif", ".tiff",
    ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".pcx", ".sgi", ".qoi",
    ".ico",
)  # fmt: skip
# As Apple's phones store photos: Pillow reads them where pillow-heif is installed too.
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LFS = b"version https://git-lfs.github.com/spec/"


def open_photo(data):
    """A photo that is not decoded yet.

    Args:
        data: bytes of a file.

    Returns:
        `(image, orientation, size)`: a `PIL.Image.Image`, its EXIF orientation 1–8, and its
        `(width, height)` as it is to be looked at.

    Raises:
        UnreadablePhotoError: no image, or one that claims more pixels than Pillow allows.
    """
    if not data:
        raise UnreadablePhotoError("an empty file")
    if data.startswith(_LFS):
        raise UnreadablePhotoError("a Git LFS pointer, not the photo: run `git lfs pull`")
    _quiet()
    image = _open(data)
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data: the photo may be whole, which its decoding will show
        image, orientation = _open(data), 1
    if image.format == "TIFF" or orientation not in _TURNS:  # Pillow turns TIFF files itself
        orientation = 1
    size = image.size[::-1] if orientation >= 5 else image.size
    return image, orientation, size


def _open(data):
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except Exception as error:
        raise _unreadable(error) from None


def decode(image, orientation):
    """uint8 array `(height, width, 3)`, turned as it is to be looked at.

    Pixels of 16 bits are scaled to 8; floats must lie in [0, 1].

    Raises:
        UnreadablePhotoError: damage, whatever the decoder says of it.
    """
    _quiet()
    try:
        if image.mode == "F" or image.mode.startswith("I"):
            pixels = _as_bytes(image)
            image = Image.fromarray(pixels)
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        return np.array(image.convert("RGB"))
    except UnreadablePhotoError:
        raise
    except Exception as error:
        raise _unreadable(error) from None


def exif_orientation(exif):
    """The orientation in a block of EXIF data as Pillow reads it; 1 where it is damaged."""
    _quiet()
    try:
        found = Image.Exif()
        found.load(exif)
        return found.get(_ORIENTATION, 1)
    except Exception:
        return 1


@functools.cache
def reads_heif():
    """Whether pillow-heif is installed; if so, Pillow reads HEIC files from now on."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def _formats():
    """Those of `FORMATS` that this Pillow was built with, and HEIF where there is a decoder."""
    Image.init()
    formats = (*FORMATS, "HEIF") if reads_heif() else FORMATS
    return [name for name in formats if name in Image.OPEN]


def _as_bytes(image):
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise UnreadablePhotoError(
                f"floats from {low:g} to {high:g}; expected 0 to 1, or 8 or 16 bits"
            )
        return np.rint(values * 255).astype(np.uint8)
    # Of whole numbers of 32 bits nobody says which is white: 255 may be white, or nearly black.
    unclear = image.mode == "I" and image.format == "TIFF" and high <= 255
    if low < 0 or high > 65535 or unclear:
        raise UnreadablePhotoError(f"whole numbers from {low:g} to {high:g}; expected 8 or 16 bits")
    # 257 · 255 = 65535: white stays white, and values are rounded.
    return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)


def _unreadable(error):
    text = " ".join(str(error).split()) or type(error).__name__
    if "BytesIO" in text:  # Pillow names the object that it was given
        text = "no image that Pillow knows"
    return UnreadablePhotoError(f"no decoder reads it ({text})")


def _quiet():
    """Silences Pillow's warnings, of damaged EXIF data and palettes, in this process.

    Not by `catch_warnings`: threads that enter and leave it in turn leave everything silenced.
    """
    if not any(f[0] == "ignore" and f[3] is not None and f[3].pattern == _PILLOW
               for f in warnings.filters):  # fmt: skip
        warnings.filterwarnings("ignore", module=_PILLOW)


_PILLOW = r"PIL\."
