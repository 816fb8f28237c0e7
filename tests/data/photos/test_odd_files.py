"""Damaged, hostile and unusual files: pixels as Pillow's, or an error that says what is wrong."""

import io
import struct
import zlib

from keras_dawn.data import Normalize
from keras_dawn.data.photos import ImageFolder, ValidationImages
from keras_dawn.data.photos.crops import CenterCrop
from keras_dawn.data.photos.jpeg import decode_crop
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.unreadable import UnreadablePhotoError

import numpy as np
import pytest
import simplejpeg
import torch
from pictures import jpeg, smooth
from PIL import Image, ImageOps

FORMATS = {
    "JPEG": {"quality": 90},
    "progressive": {"quality": 90, "progressive": True},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {},
    "TIFF": {"compression": "tiff_deflate"},
    "GIF": {},
}


def encoded(form, image, **settings):
    file = io.BytesIO()
    image.save(file, form.replace("progressive", "JPEG"), **{**FORMATS.get(form, {}), **settings})
    return file.getvalue()


def ours(data):
    """The whole photo as we decode it."""
    photo = read_header(data)
    box, size = (0, 0, photo.width, photo.height), (photo.height, photo.width)
    return decode_crop(photo, box, size).numpy()


def pillows(data):
    image = Image.open(io.BytesIO(data))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def mutants(form):
    """43 of a photo in a format: a byte changed, or the end cut off."""
    random = np.random.default_rng(0)
    data = encoded(form, Image.fromarray(smooth(60, 80)))
    for number in range(43):
        mutant = bytearray(data)
        if number < 8:
            mutant = mutant[: int(len(data) * (number + 1) / 10)]
        else:
            mutant[random.integers(len(data))] = random.integers(256)
        yield bytes(mutant)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("form", FORMATS)
def test_of_damaged_files_pixels_are_pillows_or_the_file_is_refused(form):
    refused = 0
    for mutant in mutants(form):
        try:
            found = ours(mutant)
        except UnreadablePhotoError:
            refused += 1
            continue
        assert np.array_equal(found, pillows(mutant))
    assert refused >= (0 if form == "GIF" else 5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
def test_of_three_hundred_files_each_is_served_with_pillows_pixels_or_named(tmp_path):
    """As a training gets them: beside the mutants, files that are no photos."""
    files = {f"{form}{n:02}": data for form in FORMATS for n, data in enumerate(mutants(form))}
    files |= {"empty": b"", "words": b"no photo", "film": b"\0\0\0\x18ftypmp42" + bytes(99)}
    given, oracle = tmp_path / "given" / "a", tmp_path / "pillow" / "a"
    given.mkdir(parents=True)
    oracle.mkdir(parents=True)
    for name, data in files.items():
        (given / f"{name}.jpg").write_bytes(data)  # named so whatever they are
    source = ImageFolder(given.parent, most_unreadable=1.0)
    assert len(source) == len(files) == 304
    data = validation(source)
    found = torch.cat([images for images, _ in data])
    served = [
        path.stem for path in sorted(given.iterdir()) if f"a/{path.name}" not in data.problems
    ]
    assert len(found) == len(served) and 40 < len(served) < len(files) - 40
    assert not {"empty", "words", "film"} & set(served)
    for name in served:
        Image.fromarray(pillows(files[name])).save(oracle / f"{name}.png")
    expected = torch.cat([images for images, _ in validation(ImageFolder(oracle.parent))])
    assert torch.equal(found, expected)


def validation(source):
    transforms = [CenterCrop(1.0), Normalize(0.0, 1.0)]
    return ValidationImages(source, 32, image_size=60, transforms=transforms)


def test_damage_that_the_fast_decoder_swallows_is_refused():
    """libjpeg goes on where data end too early, and leaves the rest grey."""
    data = bytearray(jpeg(smooth(300, 300)))
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd9"
    grey = simplejpeg.decode_jpeg(bytes(data), strict=False)
    assert np.abs(grey[-20:].astype(int) - smooth(300, 300)[-20:]).mean() > 20
    with pytest.raises(UnreadablePhotoError, match="damaged"):
        ours(bytes(data))


def test_photos_with_odd_headers_are_decoded():
    """The fast decoder complains of them before it has decoded anything."""
    newer = bytearray(jpeg(smooth(60, 80)))
    at = newer.index(b"JFIF\0")
    newer[at + 5] = 2  # of the JFIF revision 2.01
    end = at + int.from_bytes(newer[at - 2 : at], "big") - 2
    adobe = newer[: at - 4] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x05" + newer[end:]
    for data in (newer, adobe):
        assert np.array_equal(ours(bytes(data)), pillows(data))


def test_data_that_were_lost_before_a_restart_marker_are_damage():
    data = bytearray(jpeg(smooth(300, 300), restart_marker_rows=1))
    at = data.index(b"\xff\xd3")
    data[at:at] = b"\x55" * 9
    with pytest.raises(UnreadablePhotoError, match="extraneous bytes before marker 0xd3"):
        ours(bytes(data))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(cut):
    data = jpeg(smooth(300, 300))
    with pytest.raises(UnreadablePhotoError, match="truncated"):
        ours(data[: int(len(data) * cut)])


@pytest.mark.parametrize("side", [12_000, 65_500])
def test_a_small_file_that_claims_many_pixels_is_refused_before_memory_is_taken(side):
    data = bytearray(jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    with pytest.raises(UnreadablePhotoError, match=f"claim {side:,} × {side:,}"):
        read_header(bytes(data))


def test_a_png_beyond_pillows_limit_is_refused():
    png = bytearray(encoded("PNG", Image.fromarray(smooth(8, 8))))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(UnreadablePhotoError, match="exceeds limit"):
        read_header(bytes(png))


@pytest.mark.parametrize("color", [0, 200])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_photo_of_one_colour_is_no_bomb(color, progressive):
    file = io.BytesIO()
    image = Image.fromarray(np.full((4200, 4200), color, np.uint8))
    image.save(file, "JPEG", optimize=True, quality=20, progressive=progressive)
    assert read_header(file.getvalue()).width == 4200


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no decoder reads it"),
    ],
)
def test_what_is_no_photo_says_what_it_is(data, words):
    with pytest.raises(UnreadablePhotoError, match=words):
        read_header(data)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(form):
    values = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    found = ours(encoded(form, Image.fromarray(values)))
    expected = np.rint(values / 65535 * 255)[..., None]
    assert np.abs(found - expected).max() <= (0 if form != "PPM" else 1)


def test_floats_from_zero_to_one_are_read_and_others_refused():
    values = np.linspace(0, 1, 2000, dtype=np.float32).reshape(40, 50)
    found = ours(encoded("TIFF", Image.fromarray(values), compression=None))
    assert np.array_equal(found[..., 1], np.rint(values * 255))
    with pytest.raises(UnreadablePhotoError, match="floats from 0 to 1000; expected 0 to 1"):
        ours(encoded("TIFF", Image.fromarray(1000 * values), compression=None))


def test_whole_numbers_of_32_bits_are_read_as_16_bits_or_refused():
    values = np.linspace(0, 65535, 2000).reshape(40, 50).astype(np.int32)
    found = ours(encoded("TIFF", Image.fromarray(values), compression=None))
    assert np.array_equal(found[..., 0], np.rint(values / 257))
    for wrong in (values // 257, values * 2, values - 1):  # 255 may be white, or nearly black
        with pytest.raises(UnreadablePhotoError, match="whole numbers from .* 8 or 16 bits"):
            ours(encoded("TIFF", Image.fromarray(wrong), compression=None))


def test_the_film_of_a_motion_photo_is_passed_over():
    photo = jpeg(smooth(96, 128))
    motion = photo + bytes(5000) + b"\0\0\0\x18ftypmp42" + bytes(200_000)
    assert read_header(motion).height_at is not None
    assert np.array_equal(ours(motion), ours(photo))


@pytest.mark.parametrize("shape", [(4, 6000), (6000, 4), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_banner_is_cropped_like_any_photo(shape, form):
    photo = read_header(encoded(form, Image.fromarray(smooth(*shape))))
    box = CenterCrop().box(photo.width, photo.height, (32, 32), [])
    assert decode_crop(photo, box, (32, 32)).shape == (32, 32, 3)
