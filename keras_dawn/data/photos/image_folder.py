"""A folder with one folder a class, as people have them."""

from collections.abc import Iterable
from pathlib import Path

from keras_dawn.data.photos.folder_listing import folders_in, photos_below
from keras_dawn.data.photos.names import Names
from keras_dawn.data.photos.photo_source import PhotoSource, check_classes, some
from keras_dawn.data.photos.pillow_reader import SUFFIXES
from keras_dawn.data.photos.unreadable import Unreadable

import numpy as np


class ImageFolder(PhotoSource):
    """A folder with one folder a class, as torchvision and fastai lay them out.

    Hidden files and folders, and what archives and file managers leave, are passed over; links are
    followed. Classes are numbered in the order of `class_names`, or else of their folders' names.

    Args:
        folder: path.
        class_names: the classes in the order of their numbers, such as those of the training
            folder; a class may have no photos here then. By default the names of the folders.
        unreadable: what is done about a file that cannot be read: `"leave_out"`, `"error"` or
            `"grey"`; see `Unreadable`.
        most_unreadable: float in [0, 1], the fraction of such files above which it is an error.

    Attributes:
        labels: int64 `(count,)`.
        class_names: tuple of str.
        paths: tuple of `Path`, made when it is asked for.
        skipped: dict from the names of dead links and of photos that there is no decoder for to
            the reason.

    Raises:
        FileNotFoundError: no such folder, or no classes in it.
        ValueError: no photos, a class without images, other classes than expected, a folder of
            splits (`train`, `val`), a link to a folder above it, or too many files that cannot be
            read.

    Example:
        >>> train = ImageFolder("imagenet/train")                       # doctest: +SKIP
        >>> val = ImageFolder("imagenet/val", train.class_names)        # doctest: +SKIP
    """

    def __init__(self, folder, class_names=None, *, unreadable="leave_out", most_unreadable=0.1):
        self.folder = Path(folder).expanduser()
        self.unreadable = Unreadable(unreadable, most_unreadable)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"There is no folder {self.folder}.")
        folders = {path.name: path for path in folders_in(self.folder)}
        if not folders:
            raise FileNotFoundError(
                f"{self.folder} holds no folders; expected one for each class, with images in it. "
                "Where labels stand in a table or in the files' names, use PhotoTable."
            )
        if isinstance(class_names, str) or not isinstance(class_names, (Iterable, type(None))):
            raise ValueError(f"`class_names` must be a list of str, got {class_names!r}.")
        if class_names is None:
            _check_no_splits(folders, self.folder)
        self.class_names = tuple(folders if class_names is None else class_names)
        check_classes(tuple(folders), self.class_names, self.folder)
        parts, self.skipped, empty = [], {}, []
        counts = np.zeros(len(self.class_names), np.int64)
        for number, name in enumerate(self.class_names):
            # A class of the training folder may have no photos to validate on.
            files, skipped = photos_below(folders[name]) if name in folders else ([], {})
            self.skipped |= {f"{name}/{path}": reason for path, reason in skipped.items()}
            if not files:
                empty.append(name)
            parts.append(Names([f"{name}/{path}" for path in files]))
            counts[number] = len(files)
        self._names = Names.joined(parts)
        self._check_skipped(self.folder, len(self._names) + len(self.skipped))
        if empty and (class_names is None or not self._names):
            raise ValueError(
                f"No images in {len(empty)} of {len(self.class_names)} class folders of "
                f"{self.folder}: {some(empty)}. Put images ({', '.join(SUFFIXES)}) in, or remove "
                "these folders; where a class is to have none, pass `class_names`."
            )
        self.labels = np.repeat(np.arange(len(counts)), counts)

    @property
    def paths(self):
        """The files' paths."""
        return tuple(self.folder / name for name in self._names)

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        return (self.folder / self._names[index]).read_bytes(), int(self.labels[index])

    def name(self, index):
        """The file's path under the folder, for messages."""
        return self._names[index]


_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def _check_no_splits(folders, folder):
    """Refuses the parent of training and validation folders, whose names are not classes."""
    are_splits = len(folders) > 1 and _SPLITS.issuperset(name.lower() for name in folders)
    if are_splits and any(list(folders_in(inner)) for inner in folders.values()):
        names = " and ".join(sorted(folders))
        raise ValueError(
            f"{folder} holds {names}, which look like parts of a data set. Give `ImageFolder` one "
            f"of them, such as {folder / min(folders)}; if they are the classes, pass "
            f"class_names={tuple(folders)}."
        )
