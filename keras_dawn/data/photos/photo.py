"""What a photo's header says, read without decoding it."""

import re
from dataclasses import dataclass

from keras_dawn.data.photos.pillow_reader import exif_orientation, open_photo
from keras_dawn.data.photos.unreadable import UnreadablePhotoError

from PIL import Image

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = (0xC0, 0xC1)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
# A JPEG file has at least one bit for each block; the sparest has some 340 pixels a byte.
_PIXELS_A_BYTE, _SMALL = 1024, 2**24


@dataclass(frozen=True)
class Photo:
    """An encoded photo and what its header says.

    Args:
        data: bytes of the file.
        width, height: int, pixels, as the photo is to be looked at (after `orientation`).
        orientation: int 1–8, the EXIF orientation.
        height_at: where the header keeps the height, if decoding can stop early; else `None`.
        opened: what Pillow has opened where the fast decoder does not read it, else `None`.
    """

    data: bytes
    width: int
    height: int
    orientation: int = 1
    height_at: int | None = None
    opened: Image.Image | None = None

    def by_pillow(self):
        """The same photo, to be read by Pillow."""
        return self if self.opened is not None else _by_pillow(self.data)


def read_header(data):
    """What a file's header says, as a `Photo`.

    Args:
        data: bytes of an image file: JPEG (also grayscale, CMYK, progressive), or anything
            that Pillow reads, whatever its name.

    Raises:
        UnreadablePhotoError: no image, or one that claims more pixels than its bytes can hold.

    Example:
        >>> import simplejpeg
        >>> data = simplejpeg.encode_jpeg(np.zeros((60, 80, 3), np.uint8))
        >>> read_header(data).width
        80
    """
    found = _walk(data)
    if found is None:
        return _by_pillow(data)
    marker, at, components, restarts, orientation, start = found
    one_scan = data[start + 4] == components  # each scan has data of all rows
    height = int.from_bytes(data[at : at + 2], "big")
    width = int.from_bytes(data[at + 2 : at + 4], "big")
    # Rare files, which Pillow reads rightly.
    if width == 0 or height == 0 or components not in (1, 3):
        return _by_pillow(data)  # CMYK, or a height that comes later
    _check_size(width, height, len(data))
    # Within the picture's data no other marker has this number: what follows it, such as the film
    # of a motion photo, is not the picture.
    whole = data.find(b"\xff\xd9", start) >= 0
    # In a picture with restart markers the rows after the crop's would look like damage: the
    # decoder finds a marker where it expects the end.
    early = marker in _BASELINE and one_scan and whole and not restarts
    height_at = at if early else None
    if orientation >= 5:
        width, height = height, width
    return Photo(data, width, height, orientation, height_at)


def _by_pillow(data):
    image, orientation, (width, height) = open_photo(data)
    return Photo(data, width, height, orientation, opened=image)


def _check_size(width, height, file_size):
    pixels, most = width * height, Image.MAX_IMAGE_PIXELS
    if pixels > max(_SMALL, _PIXELS_A_BYTE * file_size) or (most and pixels > 2 * most):
        raise UnreadablePhotoError(
            f"{file_size:,} bytes that claim {width:,} × {height:,} pixels (Pillow's limit is "
            "2 · PIL.Image.MAX_IMAGE_PIXELS)"
        )


def _walk(data):
    """What the markers of a JPEG file say, or `None`.

    Returns:
        `(marker, place of the height, components, whether it has restart markers, orientation,
        where its data begin)`.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at, exif, xmp, frame, restarts = 2, b"", b"", None, False
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = at + 4
        if marker in _SIZE_MARKERS and frame is None:
            frame = marker, at + 5, data[at + 9]
        elif marker == 0xDA:  # the picture's data
            if frame is None:
                return None
            return *frame, restarts, _orientation(exif, xmp), at
        elif marker == 0xDD:  # after how many blocks there is a restart marker; 0 for none
            restarts = any(data[body : body + 2])
        elif marker == 0xE1 and data[body : body + 6] == b"Exif\0\0":
            exif += data[body + 6 : at + 2 + length]  # a second block goes on where one ended
        elif marker == 0xE1 and data[body : body + len(_XMP)] == _XMP:
            xmp = data[body : at + 2 + length]
        at += 2 + length
    return None


def _orientation(exif, xmp):
    """What Pillow takes for the orientation: that of the EXIF data, or else of the XMP data."""
    if exif:
        found = _plain_orientation(exif)
        return found if found is not None else _checked(exif_orientation(exif))
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1


def _plain_orientation(exif):
    """The orientation where it is written as it should be, fast; else `None`."""
    order = {b"II": "little", b"MM": "big"}.get(bytes(exif[:2]))
    if order is None:
        return None
    start = int.from_bytes(exif[4:8], order)
    for entry in range(int.from_bytes(exif[start : start + 2], order)):
        at = start + 2 + 12 * entry
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            kind, count = exif[at + 2 : at + 4], exif[at + 4 : at + 8]
            if (int.from_bytes(kind, order), int.from_bytes(count, order)) != (3, 1):
                return None
            return _checked(int.from_bytes(exif[at + 8 : at + 10], order))
    return None


def _checked(value):
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
