"""Image sets for training: sources, samplers, transforms, and data on the training device."""

import sys

from keras_dawn.data.augment import (
    AlternatingFlip,
    Cutout,
    PadCrop,
    RandomFlip,
    RandomRotation,
    Resize,
)
from keras_dawn.data.auto_augment import RandAugment, TrivialAugment
from keras_dawn.data.balance import Balanced, class_weights
from keras_dawn.data.colors import ColorJitter, Grayscale
from keras_dawn.data.device_images import DeviceImages
from keras_dawn.data.erasing import RandomErasing
from keras_dawn.data.foreign import PerImage
from keras_dawn.data.hardest import Hardest, LossMemory
from keras_dawn.data.labels import OneHot
from keras_dawn.data.mixing import CutMix, MixUp
from keras_dawn.data.samplers import InOrder, Shuffled
from keras_dawn.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BatchTransform,
    Normalize,
    Transform,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AlternatingFlip",
    "Balanced",
    "BatchTransform",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "DeviceImages",
    "Grayscale",
    "Hardest",
    "InOrder",
    "LossMemory",
    "MixUp",
    "Normalize",
    "OneHot",
    "PadCrop",
    "PerImage",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomRotation",
    "Resize",
    "Shuffled",
    "Transform",
    "TrivialAugment",
    "class_weights",
]


def __getattr__(name):
    if name == "photos":  # imported once it is asked for: decoders take a while
        import keras_dawn.data.photos  # noqa: F401

        return sys.modules[f"{__name__}.photos"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
