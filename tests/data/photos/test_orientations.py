"""Photos that are turned: by EXIF data of every kind, as Pillow turns them."""

import struct

from keras_dawn.data.photos.photo import read_header

import numpy as np
import pytest
from pictures import jpeg, smooth
from PIL import Image

from tests.data.photos.test_odd_files import encoded, ours, pillows


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_pillows(form, orientation):
    image = Image.fromarray(smooth(40, 64))
    if form == "CMYK":
        image, form = image.convert("CMYK"), "JPEG"
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(form, image, exif=exif)
    assert np.array_equal(ours(data), pillows(data))


def test_an_orientation_in_xmp_or_of_an_unusual_type_is_read_as_pillow_reads_it():
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="8"/></x:xmpmeta>'
    for settings, expected in (({"exif": exif}, 6), ({"xmp": xmp}, 8)):
        data = jpeg(smooth(40, 64), **settings)
        assert read_header(data).orientation == expected
        assert np.array_equal(ours(data), pillows(data))


@pytest.mark.parametrize("form", ["WEBP", "PNG", "CMYK"])
def test_a_turned_photo_with_damaged_exif_data_is_read(form):
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x011A, 10, 1, 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<Iii", 0, -1, 0)
    image = Image.fromarray(smooth(40, 64))
    if form == "CMYK":
        image, form = image.convert("CMYK"), "JPEG"
    found = ours(encoded(form, image, exif=exif))
    plain = ours(encoded(form, image))
    assert np.array_equal(found, np.rot90(plain, -1))
