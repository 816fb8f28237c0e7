"""Lists that hold torchvision's transforms give the pixels that torchvision gives."""

import random

from keras_dawn.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DeviceImages,
    Grayscale,
    InOrder,
    Normalize,
    OneHot,
    PerImage,
)
from keras_dawn.data.photos import ImageFolder, RandomResizedCrop, ResizingImages

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
FLOATS = v2.ToDtype(torch.float32, scale=True)
IMAGENET = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)


def batch(transforms):
    return next(iter(DeviceImages(PIXELS, np.arange(4), 4, transforms=transforms)))[0].cpu()


@pytest.mark.parametrize(
    "transforms",
    [[FLOATS, IMAGENET], [v2.Compose([FLOATS, v2.Compose([IMAGENET])])], [IMAGENET], [FLOATS]],
    ids=["two", "composed", "normalize alone", "floats alone"],
)
def test_pixels_are_scaled_and_normalised_once(transforms):
    kinds = str(transforms)
    theirs = v2.Compose([FLOATS, IMAGENET] if "Normalize" in kinds else [FLOATS])
    expected = theirs(torch.from_numpy(PIXELS).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(batch(transforms), expected, atol=1e-6, rtol=1e-5)


def test_photos_are_normalised_once(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(PIXELS[0]).resize((32, 32)).save(tmp_path / "a" / "0.png")

    def pixels(transforms):
        data = ResizingImages(
            ImageFolder(tmp_path), 1, image_size=32, sampler=InOrder(), transforms=transforms
        )
        return next(iter(data))[0]

    torch.testing.assert_close(pixels([FLOATS, IMAGENET]), pixels([]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "transform", [v2.ToDtype(torch.float32), v2.ToDtype(torch.int32, scale=True)]
)
def test_pixels_on_another_scale_are_refused(transform):
    with pytest.raises(ValueError, match="expected uint8, or floats from 0 to 1"):
        batch([transform])


@pytest.mark.parametrize("grey", [Grayscale(), v2.Grayscale(1)])
def test_one_channel_is_not_normalised_by_three(grey):
    with pytest.raises(ValueError, match="`mean` must have 1"):
        batch([grey, Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    assert batch([grey, Normalize(0.45, 0.23)]).shape == (4, 8, 8, 1)


def test_numbers_on_the_other_scale_are_refused():
    with pytest.raises(ValueError, match="leave `scale` out"):
        Normalize(IMAGENET_MEAN, IMAGENET_STD, scale=255)
    with pytest.raises(ValueError, match="scale=255"):
        Normalize(np.float32(127.5), np.array(127.5))
    of_caffe = Normalize((103.9, 116.8, 123.7), scale=255)
    assert of_caffe.std == (1.0,) and Normalize(scale=255).mean == (0.0,)


def test_class_numbers_become_probabilities_once():
    with pytest.raises(ValueError, match="OneHot takes class numbers"):
        batch([OneHot(4), OneHot(4)])


def test_a_list_that_begins_with_a_photo_of_pillows_gives_its_pixels():
    """`ToTensor` where images are tensors already, within a `Compose` and on its own."""
    from_pillow = [v1.ToPILImage(), v1.RandomHorizontalFlip(1.0), v1.ToTensor()]
    norm = v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    whole = v1.Compose([*from_pillow, norm])
    expected = torch.stack([whole(torch.tensor(p).permute(2, 0, 1)) for p in PIXELS])
    for transforms in (
        [whole],
        [*from_pillow, norm],
        [v1.RandomHorizontalFlip(1.0), v1.ToTensor(), norm],
        [v1.Compose([v1.PILToTensor(), *from_pillow[1:], norm])],
        [v2.ToPILImage(), v2.RandomHorizontalFlip(1.0), v2.PILToTensor(), norm],
    ):
        found = batch(transforms).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_photos_are_not_cropped_a_second_time_unasked(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(PIXELS[0]).resize((32, 32)).save(tmp_path / "a" / "0.png")

    def shape(*transforms):
        data = ResizingImages(ImageFolder(tmp_path), 1, image_size=16, transforms=list(transforms))
        return tuple(next(iter(data))[0].shape)

    crops = [v2.RandomResizedCrop(16), v1.Compose([v1.CenterCrop(16)]), v2.RandomCrop(16)]
    for crop in (*crops, v2.RandomCrop(16, padding=0), v1.Resize((16, 16)), v2.Resize(16)):
        with pytest.raises(ValueError, match="would (crop|resize) them a second time"):
            shape(crop, FLOATS)
        assert shape(RandomResizedCrop(), crop) == (1, 16, 16, 3)
        assert batch([v2.Resize(20), crop]).shape == (4, 16, 16, 3)  # arrays are not cropped
    assert shape(v2.RandomCrop(16, padding=2)) == (1, 16, 16, 3)


def test_torchvisions_mixing_is_refused_by_the_name_of_ours():
    with pytest.raises(ValueError, match=r"put OneHot\(classes\) and keras_dawn.data.CutMix"):
        batch([v2.CutMix(num_classes=4)])


@pytest.mark.parametrize(
    "transform",
    [
        v1.RandomChoice([v1.RandomHorizontalFlip(1.0), v1.RandomVerticalFlip(1.0)]),
        v1.RandomOrder([v1.RandomHorizontalFlip(1.0), v1.Lambda(lambda image: image.roll(1, 2))]),
        PerImage(lambda image: image.roll(int(np.random.randint(8)), 2)),
    ],
    ids=["choice", "order", "numpy"],
)
def test_draws_of_python_and_numpy_go_by_seed_and_epoch_too(transform):
    first = batch([transform])
    for _ in range(3):
        before = random.getstate(), np.random.get_state()[1].tolist()
        assert torch.equal(batch([transform]), first)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
        random.random(), np.random.rand()
