"""Labelled photos in data sets' own files: tensorflow-datasets, and ImageNet's tar files."""

import csv
import tarfile
from pathlib import Path

from keras_dawn.data.photos.image_folder import ImageFolder
from keras_dawn.data.photos.names import Names
from keras_dawn.data.photos.photo_source import PhotoSource, check_classes
from keras_dawn.data.photos.plain_tar import BLOCK, plain_members
from keras_dawn.data.source_labels import LabelsOnDemand

import numpy as np


class TfdsImages(PhotoSource):
    """A split of a tensorflow-datasets builder, read without TensorFlow.

    The builder must be prepared in a format with random access (`array_record`); the images
    stay encoded.

    Args:
        builder: `tfds.core.DatasetBuilder` with the features `image` and `label`.
        split: str, such as `"train"` or `"validation[:1000]"`.

    Attributes:
        labels: int64 `(count,)`. To know them all files of the split are read once, when they are
            asked for, as by `split`.

    Raises:
        ValueError: other features.
    """

    def __init__(self, builder, split):
        import tensorflow_datasets as tfds

        features = builder.info.features
        if not {"image", "label"} <= set(features):
            raise ValueError(f"{builder.name} has {sorted(features)}; expected image and label.")
        self.builder, self.split = builder, split
        self.class_names = tuple(features["label"].names)
        self._source = builder.as_data_source(
            # The file's bytes: this package decodes them at the size that is needed.
            split=split,
            decoders={"image": tfds.decode.SkipDecoding()},
        )

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        example = self._source[index]
        return bytes(example["image"]), int(example["label"])

    @LabelsOnDemand
    def labels(self):
        """The class numbers, read from the files."""
        return np.array([int(example["label"]) for example in self._source], np.int64)

    def name(self, index):
        """The image's place in the split, for messages."""
        return f"{self.builder.name}/{self.split}[{index}]"

    def _place(self):
        return f" {self.builder.name}/{self.split}"


class ImageNetTar(PhotoSource):
    """ImageNet's own tar files, read in place.

    `ILSVRC2012_img_train.tar` holds a tar file a class; `ILSVRC2012_img_val.tar` holds the
    images, whose classes come from a file with lines `image name, class` (such as
    `LOC_val_solution.csv`). Finding where the images lie reads every header once.

    Args:
        path: the tar file.
        labels_file: path, for the validation images; `None` for the training images.
        class_names: tuple of wnids in the order of their numbers; by default sorted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an image without a class, another class than expected, or no tar file, or one
            that is compressed.
    """

    def __init__(self, path, labels_file=None, class_names=None):
        labels_file = None if labels_file is None else Path(labels_file).expanduser()
        self.path, self._nested = Path(path).expanduser(), labels_file is None
        if self._nested:
            parts = _nested(self.path)
        else:
            parts = _flat(self.path, _read_labels(labels_file), labels_file)
        names, places, wnids = [], [], []
        try:
            for images, of_images in parts:
                names.append(Names([name for name, _, _ in images]))
                places.append(np.array([place for _, *place in images], np.int64).reshape(-1, 2))
                wnids += of_images
        except tarfile.ReadError as error:
            raise ValueError(
                f"{self.path} is no whole tar file ({error}). One that is compressed must be "
                "unpacked: its images are read where they lie."
            ) from None
        if not wnids:
            raise ValueError(f"{self.path} holds no images.")
        found = tuple(sorted(set(wnids)))
        self.class_names = tuple(class_names) if class_names is not None else found
        if class_names is not None:
            check_classes(found, self.class_names, self.path)
        numbers = {wnid: number for number, wnid in enumerate(self.class_names)}
        self._names, self._places = Names.joined(names), np.concatenate(places)
        self.labels = np.array([numbers[wnid] for wnid in wnids], np.int64)

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        offset, size = self._places[index]
        with open(self.path, "rb") as file:  # a handle of its own: threads read side by side
            file.seek(offset)
            return file.read(size), int(self.labels[index])

    def name(self, index):
        """The image's name in its tar file, after its class where each has a tar file."""
        name = self._names[index]
        return f"{self.class_names[self.labels[index]]}/{name}" if self._nested else name

    def _place(self):
        return f" {self.path}"


def _nested(path):
    """For each class of a tar file of tar files: `(name, offset, size)` of its images, wnids."""
    with tarfile.open(path, "r:") as outer, open(path, "rb", buffering=0) as file:
        for member in outer:
            if not member.isfile():
                continue
            first = member.offset_data  # it is stored as it is: its images have places in this one
            images = plain_members(file, first, first + member.size)
            if images is None:
                with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as inner:
                    images = [
                        (image.name, first + image.offset_data, image.size)
                        for image in inner
                        if image.isfile()
                    ]
                    _check_end(file, first + inner.offset)
            yield images, [Path(member.name).stem] * len(images)
        _check_end(file, outer.offset)


def _check_end(file, place):
    """Raises `tarfile.ReadError` where no archive ends: `tarfile` takes damage for an end."""
    file.seek(place)
    if file.read(BLOCK) != bytes(BLOCK):
        raise tarfile.ReadError(f"damaged or cut off at byte {place}")


def _flat(path, classes, labels_file):
    """`(name, offset, size)` of all images of a tar file, and their wnids."""
    images, wnids = [], []
    with tarfile.open(path, "r:") as archive, open(path, "rb") as file:
        for image in archive:
            if image.isfile():
                stem = Path(image.name).stem
                if stem not in classes:
                    raise ValueError(f"{labels_file} has no class for {image.name}.")
                images.append((image.name, image.offset_data, image.size))
                wnids.append(classes[stem])
        _check_end(file, archive.offset)
    yield images, wnids


def _read_labels(path):
    """The class of each image from a file of `name, class …` lines, with or without a header."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if len(row) >= 2]
    return {Path(name.strip()).stem: wnids.split()[0] for name, wnids, *_ in rows if wnids.strip()}


def photos_of(folder, part, class_names=None):
    """A part of a data set in a folder: `part/` with a folder a class, or ImageNet's tar files.

    The tar files are `ILSVRC2012_img_train.tar`, and `ILSVRC2012_img_val.tar` with
    `LOC_val_solution.csv` (of Kaggle's edition of ImageNet) beside it.

    Args:
        folder: path.
        part: `"train"` or `"val"`.
        class_names: tuple of the classes in the order of their numbers; by default sorted.

    Returns:
        `ImageFolder` or `ImageNetTar`.

    Raises:
        FileNotFoundError: neither is there.
    """
    folder = Path(folder).expanduser()
    tar, labels = folder / f"ILSVRC2012_img_{part}.tar", folder / "LOC_val_solution.csv"
    if (folder / part).is_dir() or not tar.is_file():
        return ImageFolder(folder / part, class_names)
    if part == "val" and not labels.is_file():
        raise FileNotFoundError(
            f"{tar} needs {labels} beside it, which says the class of each image. It comes with "
            "Kaggle's edition of ImageNet."
        )
    return ImageNetTar(tar, labels if part == "val" else None, class_names)
