"""Photos of any size, decoded at the size that training needs."""

from keras_dawn.data.photos.crops import CenterCrop, RandomResizedCrop
from keras_dawn.data.photos.image_folder import ImageFolder
from keras_dawn.data.photos.photo_table import PhotoTable
from keras_dawn.data.photos.prepare import prepare
from keras_dawn.data.photos.prepared import PreparedImages
from keras_dawn.data.photos.resizing import ResizingImages
from keras_dawn.data.photos.sources import ImageNetTar, TfdsImages, photos_of
from keras_dawn.data.photos.splitting import split
from keras_dawn.data.photos.unreadable import UnreadablePhotoError
from keras_dawn.data.photos.validation_images import ValidationImages

__all__ = [
    "CenterCrop",
    "ImageFolder",
    "ImageNetTar",
    "PhotoTable",
    "PreparedImages",
    "RandomResizedCrop",
    "ResizingImages",
    "TfdsImages",
    "UnreadablePhotoError",
    "ValidationImages",
    "photos_of",
    "prepare",
    "split",
]
