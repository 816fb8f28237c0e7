"""What is validated on are the images themselves, or a warning says that they are not."""

import warnings

import keras_dawn
from keras_dawn import Phase, data
from keras_dawn.data import photos

import keras
import numpy as np
import pytest

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def images(*transforms):
    return data.DeviceImages(PIXELS, LABELS, 4, transforms=list(transforms))


def model():
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    built = keras.Sequential([keras.Input((None, None, 3)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile("sgd", loss)
    return keras_dawn.accelerate(built)


@pytest.mark.parametrize(
    "transforms, names",
    [
        ([data.RandomFlip(), data.PadCrop(2)], r"\(RandomFlip, PadCrop\)"),
        ([data.Cutout(2), data.RandAugment()], r"\(Cutout, RandAugment\)"),
        ([data.OneHot(3), data.MixUp()], r"\(MixUp\)"),
    ],
)
def test_images_that_are_changed_at_random_are_named(transforms, names):
    built = model()
    if isinstance(transforms[0], data.OneHot):
        built.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    train = images(*transforms)
    with pytest.warns(UserWarning, match=f"{names}.*Leave them out of the `transforms`"):
        built.fit(train, validation_data=images(*transforms), verbose=0)


def test_torchvisions_random_ones_are_named_and_others_are_not():
    from torchvision.transforms import v2

    steady = [v2.Grayscale(3), data.Resize(8), data.Grayscale(), data.Normalize(0.5, 0.5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model().fit(images(data.RandomFlip()), validation_data=images(v2.Identity()), verbose=0)
    assert images(*steady).transforms.random_ones() == []
    flip = v2.Compose([v2.Grayscale(3), v2.RandomHorizontalFlip()])
    assert len(images(flip).transforms.random_ones()) == 1


@pytest.mark.parametrize("planned", [False, True])
def test_training_photos_that_are_validated_on_are_named(planned, photo_folder):
    source = photos.ImageFolder(photo_folder / "train")

    def train(phase=None):
        return photos.ResizingImages(source, 4, image_size=16)

    def middles(phase=None):
        return photos.ValidationImages(source, 4, image_size=16)

    def fit(validation):
        if planned:
            phases = [Phase(1, 16, 4, (0.1, 0.0))]
            return keras_dawn.fit_plan(
                model(), phases, train, validation_data=validation, verbose=0
            )
        return model().fit(train(), validation_data=validation(), verbose=0)

    with pytest.warns(UserWarning, match=r"\(RandomResizedCrop, RandomFlip\).*ValidationImages"):
        fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(middles)
