"""A labelled image set in memory, with where it came from."""

import hashlib
from dataclasses import dataclass

from keras_dawn.data.transforms import Normalize

import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Training and test images of one size.

    Args:
        name: str, such as `"cifar10"`.
        source: str, what was read, for people: a folder or a package.
        train_images, test_images: uint8 `(count, height, width, channels)`.
        train_labels, test_labels: int64 `(count,)` in 0, …, classes - 1.
        class_names: tuple of str.
        normalize: `Normalize`, by the mean and the standard deviation of the training images.

    Raises:
        ValueError: a label outside the classes, or shapes that do not fit.
    """

    name: str
    source: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple
    normalize: Normalize

    def __post_init__(self):
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if len(images) != len(labels) or len(images) == 0:
                raise ValueError(
                    f"{self.name}: {len(images)} {part} images and {len(labels)} labels; "
                    "expected one label for each image, and at least one image."
                )
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.class_names):
                raise ValueError(
                    f"{self.name}: {part} labels run from {low} to {high}; expected 0 to "
                    f"{len(self.class_names) - 1}, one number for each of the "
                    f"{len(self.class_names)} classes."
                )

    def __repr__(self):
        return (
            f"ImageSet({self.name!r}, {len(self.train_images):,} training and "
            f"{len(self.test_images):,} test images of {self.train_images.shape[1:]}, "
            f"{len(self.class_names)} classes)"
        )

    def fingerprint(self):
        """SHA-256 of all pixels and labels, as hexadecimal digits."""
        digest = hashlib.sha256()
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            # The memory itself, without a copy as `tobytes` makes one.
            digest.update(np.ascontiguousarray(getattr(self, part)))
        return digest.hexdigest()

    def describe(self):
        """Name, source, fingerprint and counts as a dict, for `run.json`."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.fingerprint(),
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
        }

    def subset(self, train_count, test_count):
        """The first images of each part, for quick runs.

        The order of CIFAR-10 and of the digits is already mixed.
        """
        return ImageSet(
            self.name,
            f"{self.source} (first {train_count} training and {test_count} test images)",
            self.train_images[:train_count],
            self.train_labels[:train_count],
            self.test_images[:test_count],
            self.test_labels[:test_count],
            self.class_names,
            self.normalize,
        )
