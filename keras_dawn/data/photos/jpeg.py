"""Decodes the wanted part of a photo at about the wanted size: the one place that decodes.

Measured on 100 ImageNet photos (`benchmarks/pipeline.py`), simplejpeg with torch's
antialiased resize is the fastest of the well-kept decoders; Pillow reads what is no JPEG.
Three things save time, none of them entropy decoding, which every pixel before the last
wanted row needs:

* the decoder scales by 1/2, 1/4 or 1/8 in the DCT domain, as far as the crop stays larger
  than the output;
* decoding stops after the crop's last row: the header is told a smaller height;
* one resize makes crop and size.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

# Start-of-frame markers, without the three in their range that begin something else (ITU-T T.81).
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = (0xC0, 0xC1)  # sequential: rows come one after the other, and decoding can stop
_TAIL = 4096  # bytes in which a whole file's end marker is looked for


@dataclass(frozen=True)
class Photo:
    """An encoded photo and what its header says.

    Args:
        data: bytes of the file.
        width, height: int, pixels, as the photo is to be looked at (after `orientation`).
        orientation: int 1–8, the EXIF orientation.
        height_at: where the header keeps the height, if decoding can stop early; else `None`.
        is_jpeg: bool, whether the fast decoder reads it.
    """

    data: bytes
    width: int
    height: int
    orientation: int = 1
    height_at: int | None = None
    is_jpeg: bool = True


class UnreadablePhotoError(ValueError):
    """A file that no decoder reads."""


def read_header(data):
    """What a file's header says, as a `Photo`.

    Args:
        data: bytes of an image file: JPEG (also grayscale, CMYK, progressive), or anything
            that Pillow reads, whatever its name.

    Raises:
        UnreadablePhotoError: no image.
    """
    found = _walk(data)
    if found is None:
        return _header_by_pillow(data)
    marker, at, components, orientation = found
    height = int.from_bytes(data[at : at + 2], "big")
    width = int.from_bytes(data[at + 2 : at + 4], "big")
    if width == 0 or height == 0 or components not in (1, 3):
        return _header_by_pillow(data)  # CMYK, or a height that comes later
    whole = data.rfind(b"\xff\xd9", -_TAIL) >= 0
    height_at = at if marker in _BASELINE and whole else None
    if orientation >= 5:
        width, height = height, width
    return Photo(data, width, height, orientation, height_at)


def decode_crop(photo, box, size):
    """The crop of a photo, resized with antialiasing.

    The box is moved by up to 7 pixels where the decoder scales, onto the grid of its pixels.

    Args:
        photo: `Photo`.
        box: `(left, top, width, height)` in pixels of the whole photo, ints inside it.
        size: `(height, width)` of the result in pixels.

    Returns:
        `(pixels, problem)`: uint8 tensor `(height, width, 3)`, and `None` or a str that says
        what is wrong with the file although it could be read.

    Raises:
        UnreadablePhotoError: nothing can be decoded.

    Example:
        >>> data = simplejpeg.encode_jpeg(np.zeros((60, 80, 3), np.uint8))
        >>> pixels, problem = decode_crop(read_header(data), (10, 0, 60, 60), (32, 32))
        >>> tuple(pixels.shape), problem
        ((32, 32, 3), None)
    """
    if not photo.is_jpeg:
        pixels = torch.from_numpy(np.array(_by_pillow(photo.data)))
        return _resize(_cut(pixels, box), size), "read by Pillow"
    box, size = _stored(box, photo), _turned(size, photo.orientation)
    scale = snap_scale(box, size)
    box = snap(box, scale)
    pixels, problem = _decode(photo, box, scale)
    left, top, width, height = (edge // scale for edge in box)
    part = pixels[top : top + max(height, 1), left : left + max(width, 1)]
    return _oriented(_resize(part, size), photo.orientation), problem


def snap_scale(box, size):
    """By how much the decoder may shrink: 1, 2, 4 or 8, the crop staying as large as `size`."""
    _, _, width, height = box
    scale = 1
    while scale < 8 and width >= 2 * scale * size[1] and height >= 2 * scale * size[0]:
        scale *= 2
    return scale


def snap(box, scale):
    """The box on the grid of the shrunken photo's pixels, in pixels of the whole one."""
    left, top, width, height = box
    # Edges down to the grid: the decoder hands out whole pixels of the shrunken photo.
    right = (left + width) // scale * scale
    bottom = (top + height) // scale * scale
    left, top = left // scale * scale, top // scale * scale
    return left, top, max(right - left, scale), max(bottom - top, scale)


def _decode(photo, box, scale):
    """The photo down to the crop's last row, shrunken by `scale`, and what is wrong with it."""
    data, problem = photo.data, None
    width, height = _stored_size(photo)
    if photo.height_at is not None:
        # Two rows of blocks more: scaled decoding looks at neighbours.
        end = ((box[1] + box[3] + 15) // 16 + 2) * 16
        if end < height:
            data = bytearray(data)
            data[photo.height_at : photo.height_at + 2] = end.to_bytes(2, "big")
            height = end
    limits = {"min_height": -(-height // scale), "min_width": -(-width // scale)}
    if scale == 1:
        limits["min_factor"] = 2
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False, **limits)
        if photo.height_at is None and data.rfind(b"\xff\xd9", -_TAIL) < 0:
            problem = "truncated (no end marker): what is missing is grey"
    except ValueError as error:
        raise UnreadablePhotoError(f"no decoder reads it ({error})") from None
    return torch.from_numpy(pixels), problem


def _resize(pixels, size):
    if tuple(pixels.shape[:2]) == tuple(size):
        return pixels
    image = pixels.permute(2, 0, 1).unsqueeze(0)
    image = F.interpolate(image, tuple(size), mode="bilinear", antialias=True)
    return image.squeeze(0).permute(1, 2, 0)


def _cut(pixels, box):
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


def _stored_size(photo):
    turned = photo.orientation >= 5
    return (photo.height, photo.width) if turned else (photo.width, photo.height)


# What each EXIF orientation asks for, after the photo's axes were swapped (5 and above):
# mirrored left to right, mirrored top to bottom.
_MIRRORED = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


def _stored(box, photo):
    """A box of the photo as it is looked at, in the pixels as they are stored."""
    left, top, width, height = box
    horizontal, vertical = _MIRRORED[photo.orientation]
    if horizontal:
        left = photo.width - left - width
    if vertical:
        top = photo.height - top - height
    if photo.orientation >= 5:
        left, top, width, height = top, left, height, width
    return left, top, width, height


def _turned(size, orientation):
    return (size[1], size[0]) if orientation >= 5 else tuple(size)


def _oriented(pixels, orientation):
    if orientation >= 5:
        pixels = pixels.transpose(0, 1)
    flipped = [axis for axis, mirror in zip((1, 0), _MIRRORED[orientation], strict=True) if mirror]
    return pixels.flip(flipped) if flipped else pixels


def _walk(data):
    """`(marker, place of the height, components, orientation)` of a JPEG's header, or `None`."""
    if data[:2] != b"\xff\xd8":
        return None
    at, orientation = 2, 1
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SIZE_MARKERS:
            return marker, at + 5, data[at + 9], orientation
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    return None


def _orientation(exif):
    """The orientation that a block of EXIF data asks for; 1 where it is damaged."""
    order = {b"II": "little", b"MM": "big"}.get(bytes(exif[:2]))
    if order is None:
        return 1
    start = int.from_bytes(exif[4:8], order)
    for entry in range(int.from_bytes(exif[start : start + 2], order)):
        at = start + 2 + 12 * entry
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _header_by_pillow(data):
    image = _by_pillow(data)
    return Photo(data, image.width, image.height, is_jpeg=False)


def _by_pillow(data):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF data, palettes with transparency
            image = Image.open(io.BytesIO(data))
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadablePhotoError(f"no decoder reads it ({error})") from None
