"""Image sets for training: sources, augmentation, and data on the training device."""

from keras_dawn.data.augment import (
    AlternatingFlip,
    ColorJitter,
    Cutout,
    PadCrop,
    RandomFlip,
    RandomRotation,
    Resize,
)
from keras_dawn.data.device_images import DeviceImages
from keras_dawn.data.hardest import HardestImages, LossMemory
from keras_dawn.data.mixing import CutMix, MixUp
from keras_dawn.data.soft_labels import SoftLabels

__all__ = [
    "AlternatingFlip",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "DeviceImages",
    "HardestImages",
    "LossMemory",
    "MixUp",
    "PadCrop",
    "RandomFlip",
    "RandomRotation",
    "Resize",
    "SoftLabels",
]
