"""Decodes the wanted part of a photo at about the wanted size: the one place that decodes.

Measured on 100 ImageNet photos (`benchmarks/pipeline.py`), simplejpeg with torch's
antialiased resize is the fastest of the well-kept decoders; Pillow reads the other formats.
Three things save time, none of them entropy decoding, which every pixel before the last
wanted row needs:

* the decoder scales by 1/2, 1/4 or 1/8 in the DCT domain, as far as the crop stays larger
  than the output;
* decoding stops after the crop's last row: the header is told a smaller height;
* one resize makes crop and size.
"""

import re

from keras_dawn.data.photos.pillow_reader import decode
from keras_dawn.data.photos.unreadable import UnreadablePhotoError

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F

# What the fast decoder says of files whose pixels are right: bytes between the picture and its end
# (those after the crop's last row too). Before another marker they are data that were lost; and of
# an odd header it complains before it has decoded anything.
_HARMLESS = re.compile(r"extraneous bytes before marker 0xd9|Inconsistent progression")
_DAMAGE = re.compile(r"Corrupt JPEG data: (.*)")


def decode_crop(photo, box, size):
    """The crop of a photo, resized with antialiasing.

    The box is moved by up to 7 pixels where the decoder scales, onto the grid of its pixels.

    Args:
        photo: `Photo`.
        box: `(left, top, width, height)` in pixels of the whole photo, ints inside it.
        size: `(height, width)` of the result in pixels.

    Returns:
        uint8 tensor `(height, width, 3)`.

    Raises:
        UnreadablePhotoError: the file is damaged, down to the crop's last row.

    Example:
        >>> from keras_dawn.data.photos.photo import read_header
        >>> data = simplejpeg.encode_jpeg(np.zeros((60, 80, 3), np.uint8))
        >>> tuple(decode_crop(read_header(data), (10, 0, 60, 60), (32, 32)).shape)
        (32, 32, 3)
    """
    if photo.opened is not None:
        return _crop_by_pillow(photo, box, size)
    stored, turned = _stored(box, photo), _turned(size, photo.orientation)
    scale = snap_scale(stored, turned)
    stored = snap(stored, scale)
    pixels = _decode(photo, stored, scale)
    if pixels is None:
        return _crop_by_pillow(photo.by_pillow(), box, size)
    left, top, width, height = (edge // scale for edge in stored)
    part = pixels[top : top + max(height, 1), left : left + max(width, 1)]
    return _oriented(_resize(part, turned), photo.orientation)


def _crop_by_pillow(photo, box, size):
    pixels = torch.from_numpy(decode(photo.opened, photo.orientation))
    return _resize(_cut(pixels, box), size)


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
    """The photo down to the crop's last row, shrunken by `scale`; `None` where Pillow must."""
    data = photo.data
    width, height = _stored_size(photo)
    if photo.height_at is not None:
        # Two rows of blocks more: scaled decoding looks at neighbours.
        end = ((box[1] + box[3] + 15) // 16 + 2) * 16
        if end < height:
            data = bytearray(data)
            data[photo.height_at : photo.height_at + 2] = end.to_bytes(2, "big")
            height = end
    shape = -(-height // scale), -(-width // scale), 3
    pixels = np.empty(shape, np.uint8)  # given to the decoder: it fills it before it complains
    limits = {"min_height": shape[0], "min_width": shape[1], "buffer": pixels}
    if scale == 1:
        limits["min_factor"] = 2
    try:
        if simplejpeg.decode_jpeg(data, "RGB", **limits).shape != shape:
            return None  # several headers that differ
    except ValueError as error:
        damage = _DAMAGE.match(str(error))
        if not _HARMLESS.search(str(error)):
            if damage:
                raise UnreadablePhotoError(f"damaged ({damage[1]})") from None
            return None  # an odd header, sampled as it does not know, or without an end
    return torch.from_numpy(pixels)


def _resize(pixels, size):
    if tuple(pixels.shape[:2]) == tuple(size):
        return pixels
    image = pixels.permute(2, 0, 1).unsqueeze(0)
    # On bytes, for which torch has a kernel of its own: no pass to floats and back.
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
