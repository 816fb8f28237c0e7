from keras_dawn import data
from keras_dawn.data.photos import RandomResizedCrop
from keras_dawn.data.pipeline import Pipeline

import keras
import numpy as np
import pytest
import torch

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)


def batch(transforms, epoch=0, **settings):
    images = data.DeviceImages(PIXELS, np.arange(12) % 3, 12, transforms=transforms, **settings)
    images.set_epoch(epoch)
    ((images, labels),) = images
    return images, labels


def test_0_to_255_for_keras_applications_is_exact():
    assert np.array_equal(batch([data.Normalize(scale=255)])[0].numpy(), PIXELS.astype("float32"))
    resized = batch([data.Resize(8), data.Normalize(scale=255)])[0]  # from floats in [0, 1]
    np.testing.assert_allclose(resized.numpy(), PIXELS, atol=1e-4)


@pytest.mark.parametrize("of_bytes", [False, True])
def test_both_scales_and_both_ways_normalise_alike(of_bytes):
    pixels = torch.as_tensor(PIXELS)
    means, stds = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    expected = (PIXELS / 255 - means) / stds
    on_255 = [tuple(255 * n for n in numbers) for numbers in (means, stds)]
    for normalize in (data.Normalize(means, stds), data.Normalize(*on_255, scale=255)):
        found = normalize.of_bytes(pixels) if of_bytes else normalize(pixels)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_minus_one_to_one_is_what_keras_applications_has():
    expected = keras.applications.mobilenet_v2.preprocess_input(PIXELS.astype("float32"))
    np.testing.assert_allclose(batch([data.Normalize(0.5, 0.5)])[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("numbers", [((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), (127.5, 127.5),
                                     (0.5, 58.4)])  # fmt: skip
def test_means_on_the_other_scale_are_refused_with_a_hint(numbers):
    with pytest.raises(ValueError, match=r"Normalize\(mean, std, scale=255\)"):
        data.Normalize(*numbers)


def test_numbers_that_normalise_nothing_are_refused():
    with pytest.raises(ValueError, match="`std` must be above 0"):
        data.Normalize(0.5, (0.1, 0.0, 0.1))
    with pytest.raises(ValueError, match="1 or 255"):
        data.Normalize(scale=256)


def test_the_list_is_applied_in_its_order():
    class Add:
        def __call__(self, images, random):
            return images + 1.0

    found = batch([data.Normalize(0.0, 0.5), Add()])[0]
    np.testing.assert_allclose(found.numpy(), PIXELS / 255 * 2 + 1, atol=1e-6)


def test_without_a_normalize_pixels_go_from_0_to_1_before_they_are_mixed():
    one_hot, mix = data.OneHot(3), data.CutMix()
    default = data.DeviceImages(PIXELS, np.arange(12) % 3, 12, transforms=[one_hot, mix])
    kinds = [type(transform).__name__ for transform in default.transforms.by_epoch[0]]
    assert kinds == ["OneHot", "Normalize", "CutMix"]
    given = batch([one_hot, data.Normalize(), mix])
    for ours, theirs in zip(next(iter(default)), given, strict=True):
        assert torch.equal(ours, theirs)
    assert float(given[0].max()) <= 1


def test_an_epoch_has_the_list_that_begins_last_before_it():
    lists = {0: [], 2: [data.Normalize(scale=255)]}
    highest = [float(batch(lists, epoch)[0].max()) for epoch in range(4)]
    assert highest == [1.0, 1.0, 255.0, 255.0]


@pytest.mark.parametrize(
    "transforms, words",
    [
        (data.RandomFlip(), "must be a list"),
        ([data.RandomFlip], "must be callable"),
        (["flip"], "must be callable"),
        ([lambda image: image], r"called with \(images, random\), and <lambda> takes \(image\)"),
        (
            [lambda images, labels, random: (images, labels)],
            r"keras_dawn.data.PerImage\(function\)",
        ),
        ([torch.nn.Identity()], "Identity takes"),
        ({1: []}, "begins with epoch 0"),
        ([RandomResizedCrop()], "arrays take PadCrop"),
        ([data.Normalize(), data.Normalize()], "2 Normalize"),
        ([data.Normalize(), data.ColorJitter(0.1)], "before Normalize"),
        ([data.OneHot(3), data.MixUp(), data.ColorJitter(0.1)], "before Normalize"),
        ([data.MixUp()], r"put OneHot\(classes\) before it"),
        ([data.CutMix(), data.OneHot(3)], r"put OneHot\(classes\) before it"),
    ],
)
def test_lists_that_cannot_work_say_why(transforms, words):
    with pytest.raises(ValueError, match=words):
        batch(transforms)


def test_functions_of_ones_own_are_called_with_a_batch_and_its_random_numbers():
    seen = []

    def darker(images, random):
        factor = random.uniform(0.5, 1.0)
        seen.append((images.dtype, tuple(images.shape), tuple(factor.shape)))
        return (images * factor[:, None, None, None]).to(images.dtype)

    class Bound:
        def __call__(self, images, random, more=0):
            return images

    one = batch([darker, Bound(), data.PerImage(lambda image: image.flip(-1))])[0]
    assert seen == [(torch.uint8, PIXELS.shape, (len(PIXELS),))]
    assert (one.numpy()[:, :, ::-1] <= PIXELS / 255 + 1e-6).all()


@pytest.mark.parametrize("transforms", [[data.RandomFlip(), RandomResizedCrop()],
                                        [RandomResizedCrop(), RandomResizedCrop()]])  # fmt: skip
def test_a_crop_of_photos_comes_first_and_once(transforms):
    with pytest.raises(ValueError, match="must come first, and only one"):
        Pipeline(transforms, data.Normalize(), RandomResizedCrop())
