import io

from keras_dawn.data.photos.crops import RandomResizedCrop
from keras_dawn.data.photos.jpeg import decode_crop, snap, snap_scale
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.unreadable import UnreadablePhotoError

import numpy as np
import pytest
import simplejpeg
from pictures import jpeg, smooth
from PIL import Image, ImageOps


def reference(data, box, size):
    """Pillow's full decode and antialiased resize of the box."""
    left, top, width, height = snap(box, snap_scale(box, size))
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    edges = (left, top, left + width, top + height)
    return np.asarray(image.resize(size[::-1], Image.BILINEAR, box=edges)).astype(int)


def error(data, box, size):
    pixels = decode_crop(read_header(data), box, size)
    assert pixels.shape == (*size, 3) and str(pixels.dtype) == "torch.uint8"
    return np.abs(pixels.numpy().astype(int) - reference(data, box, size)).mean()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 64)])
def test_random_crops_agree_with_a_full_decode(size):
    crop = RandomResizedCrop((0.05, 1.0))
    random = np.random.default_rng(0)
    for seed in range(20):
        height, width = random.integers(70, 500, 2)
        data = jpeg(smooth(int(height), int(width), seed))
        photo = read_header(data)
        assert (photo.width, photo.height) == (width, height)
        box = crop.box(photo.width, photo.height, size, random.random(crop.DRAWS))
        assert error(data, box, size) < 1.5


@pytest.mark.parametrize("sampling", ["420", "440", "422", "444"])
def test_a_crops_last_rows_are_those_of_a_full_decode(sampling):
    """Where colours have fewer rows than brightness, decoders look at the rows below, too."""
    coarse = np.random.default_rng(0).integers(0, 256, (25, 16, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((4, 4, 1), np.uint8))
    data = simplejpeg.encode_jpeg(pixels, 95, colorsubsampling=sampling)
    whole, photo = np.asarray(Image.open(io.BytesIO(data))).astype(int), read_header(data)
    for height in range(16, 50):
        found = decode_crop(photo, (0, 8, 64, height), (height, 64))
        assert np.abs(found.numpy() - whole[8 : 8 + height]).max() <= 2, height


@pytest.mark.parametrize(
    "width, height, scale",
    [(63, 63, 1), (64, 64, 2), (127, 127, 2), (128, 128, 4), (256, 256, 8), (999, 999, 8),
     (63, 999, 1), (999, 63, 1), (64, 999, 2), (999, 64, 2)],
)  # fmt: skip
def test_the_decoder_shrinks_as_far_as_the_crop_stays_larger(width, height, scale):
    assert snap_scale((0, 0, width, height), (32, 32)) == scale


def test_what_is_too_fine_for_the_result_is_averaged_away():
    """Noise, which only an antialiased resize brings near its mean, as Pillow's does."""
    data = jpeg(np.random.default_rng(0).integers(0, 256, (116, 120, 3), dtype=np.uint8))
    box, size = (4, 0, 114, 116), (60, 60)
    assert snap_scale(box, size) == 1
    assert error(data, box, size) < 1.5


def test_decoding_stops_after_the_crops_last_row():
    pixels = smooth(400, 300)
    whole = read_header(jpeg(pixels))
    # The lower half of the data is replaced: only a decoder that goes on would notice.
    cut = bytearray(whole.data)
    cut[len(cut) * 2 // 3 : -2] = bytes(len(cut) - 2 - len(cut) * 2 // 3)
    damaged = read_header(bytes(cut))
    expected = decode_crop(whole, (20, 10, 200, 100), (90, 180))
    found = decode_crop(damaged, (20, 10, 200, 100), (90, 180))
    assert np.array_equal(expected.numpy(), found.numpy())


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("top, height", [(0, 60), (80, 60), (200, 64), (0, 300)])
@pytest.mark.parametrize("restarts", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 5}])
def test_crops_of_photos_with_restart_markers_agree_with_a_full_decode(
    restarts, top, height, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(smooth(300, 300), exif=exif, **restarts)
    assert error(data, (0, top, 300, height), (height // 2, 150)) < 1.5
    assert error(data, (top, 0, height, 300), (300, height)) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_are_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(smooth(96, 160), exif=exif)
    width, height = (160, 96) if orientation < 5 else (96, 160)
    photo = read_header(data)
    assert (photo.width, photo.height, photo.orientation) == (width, height, orientation)
    assert error(data, (8, 16, width - 24, height - 32), (32, 40)) < 1.5


@pytest.mark.parametrize("mode", ["L", "CMYK", "progressive"])
def test_grayscale_cmyk_and_progressive_files_are_read(mode):
    image = Image.fromarray(smooth(120, 150))
    file = io.BytesIO()
    if mode == "progressive":
        image.save(file, "JPEG", quality=95, progressive=True)
    else:
        image.convert(mode).save(file, "JPEG", quality=95)
    data = file.getvalue()
    pixels = decode_crop(read_header(data), (0, 16, 128, 64), (32, 64))
    box = (0, 16, 128, 64)
    if mode == "CMYK":  # not scaled, so not moved
        whole = Image.open(io.BytesIO(data)).convert("RGB")
        expected = np.asarray(whole.resize((64, 32), Image.BILINEAR, box=(0, 16, 128, 80)))
    else:
        expected = reference(data, box, (32, 64))
    assert np.abs(pixels.numpy().astype(int) - expected).mean() < 1.5


def test_a_png_in_jpeg_clothes_is_read():
    file = io.BytesIO()
    pixels = smooth(60, 80)
    Image.fromarray(pixels).save(file, "PNG")
    photo = read_header(file.getvalue())
    found = decode_crop(photo, (0, 0, 80, 60), (60, 80))
    assert np.array_equal(found.numpy(), pixels)


def test_a_header_that_promises_a_picture_and_holds_none_is_unreadable():
    with pytest.raises(UnreadablePhotoError):
        photo = read_header(jpeg(smooth(64, 64))[:200])
        decode_crop(photo, (0, 0, 64, 64), (64, 64))


@pytest.mark.parametrize("data", [b"not an image", b"\xff\xd8\xff"])
def test_what_is_no_image_is_unreadable(data):
    with pytest.raises(UnreadablePhotoError, match="no decoder reads it"):
        read_header(data)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none_is_passed_over(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert error(jpeg(smooth(48, 64), exif=exif), (0, 0, 64, 48), (48, 64)) < 1.5


def test_damaged_exif_data_is_passed_over():
    data = jpeg(smooth(64, 64), exif=b"Exif\0\0MM\0*\0\0\0\xff\0\0")
    assert read_header(data).orientation == 1
