"""Photos of any size, decoded at the size that training needs."""

from keras_dawn.data.photos.crops import CenterCrop, RandomResizedCrop
from keras_dawn.data.photos.prepare import prepare
from keras_dawn.data.photos.prepared import PreparedImages
from keras_dawn.data.photos.resizing import ResizingImages, ValidationImages
from keras_dawn.data.photos.sources import ImageFolder, ImageNetTar, TfdsImages, photos_of

__all__ = [
    "CenterCrop",
    "ImageFolder",
    "ImageNetTar",
    "PreparedImages",
    "RandomResizedCrop",
    "ResizingImages",
    "TfdsImages",
    "ValidationImages",
    "photos_of",
    "prepare",
]
