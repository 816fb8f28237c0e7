from keras_dawn.data.photos import CenterCrop, RandomResizedCrop
from keras_dawn.data.photos.crops import rectangle

import numpy as np
import pytest


def test_areas_and_ratios_have_torchvisions_distribution():
    from torchvision.transforms import v2

    crop, random = RandomResizedCrop(), np.random.default_rng(0)
    theirs = v2.RandomResizedCrop(32)
    import torch

    torch.manual_seed(0)
    ours_found, theirs_found = [], []
    for _ in range(4000):
        left, top, width, height = crop.box(500, 375, (32, 32), random.random(crop.DRAWS))
        assert 0 <= left <= 500 - width and 0 <= top <= 375 - height
        ours_found.append((width * height, width / height, left, top))
        box = theirs.make_params([torch.zeros(3, 375, 500)])
        theirs_found.append(
            (box["width"] * box["height"], box["width"] / box["height"], box["left"], box["top"])
        )
    ours_found, theirs_found = np.array(ours_found), np.array(theirs_found)
    for quantile in (0.1, 0.5, 0.9):
        a, b = (np.quantile(found, quantile, axis=0) for found in (ours_found, theirs_found))
        assert a == pytest.approx(b, rel=0.1, abs=8)


@pytest.mark.parametrize("draw, place", [(0.0, 0), (0.5, 25), (0.9999, 50)])
def test_a_crop_may_lie_at_either_edge(draw, place):
    crop = RandomResizedCrop((0.25, 0.25), (1.0, 1.0))
    assert crop.box(100, 100, (32, 32), [0.5, 0.5, draw, draw] * 10) == (place, place, 50, 50)


@pytest.mark.parametrize("size, expected", [((900, 60), (410, 0, 80, 60)),
                                            ((60, 900), (0, 410, 60, 80))])  # fmt: skip
def test_a_photo_that_no_crop_fits_gives_its_middle(size, expected):
    crop = RandomResizedCrop((1.0, 1.0))
    assert crop.box(*size, (32, 32), [0.5] * crop.DRAWS) == expected


def test_the_centre_crop_is_that_of_resize_and_crop():
    # 500 × 400: the short side becomes int(1.14 * 224) = 255, the crop 224 of it.
    left, top, width, height = CenterCrop(1.14).box(500, 400, (224, 224), [])
    assert (width, height) == (round(224 * 400 / 255),) * 2
    assert (left, top) == ((500 - width) // 2, (400 - height) // 2)
    assert CenterCrop(1.0).box(500, 400, (224, 224), []) == (50, 0, 400, 400)
    # The short side becomes int(31.92), as a resize to whole pixels makes it.
    assert CenterCrop(1.14).box(400, 400, (28, 28), [])[2:] == (round(28 * 400 / 31),) * 2


def test_the_centre_crop_keeps_the_aspect_ratio_of_photos():
    random = np.random.default_rng(0)
    for _ in range(300):
        width, height = random.integers(200, 2000, 2)
        size = tuple(random.integers(32, 400, 2))
        left, top, across, down = CenterCrop(1.14).box(width, height, size, [])
        assert abs(across - down * size[1] / size[0]) <= 0.5 + 0.5 * size[1] / size[0]
        assert 0 <= left <= width - across and 0 <= top <= height - down
    assert CenterCrop(1.14).box(500, 500, (128, 256), []) == (0, 125, 500, 250)


def test_rectangles_are_imagenet18s():
    assert rectangle(288, 4 / 3) == (288, 384)
    assert rectangle(288, 0.75) == (384, 288)
    assert rectangle(128, 1.34) == (128, 168)  # 171 down to a multiple of 8


@pytest.mark.parametrize("arguments", [{"scale": (0.5, 0.1)}, {"scale": (0, 1)},
                                       {"ratio": (2, 1)}])  # fmt: skip
def test_bad_bounds_are_refused(arguments):
    with pytest.raises(ValueError, match="low ≤ high"):
        RandomResizedCrop(**arguments)
    with pytest.raises(ValueError, match="1 or more"):
        CenterCrop(0.9)
