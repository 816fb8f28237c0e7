"""What every source of labelled photos has: `source[i]` is `(bytes of the file, label)`."""

import collections

from keras_dawn.data.photos.unreadable import Unreadable, UnreadablePhotoError, listed
from keras_dawn.data.source_labels import LabelsOnDemand, held_labels
from keras_dawn.foundation.counted import counted

import numpy as np


class PhotoSource:
    """Base class of the sources.

    A source has a length, `source[i]`, `name(i)` for messages, and

    Attributes:
        class_names: tuple of str.
        labels: int64 `(count,)`, or float32 `(count, classes)` of 0 and 1 where a photo may have
            several labels.
        unreadable: `Unreadable`, what is done about files that cannot be read.
        skipped: dict from the names of files that were left out from the start to the reason.
    """

    unreadable = Unreadable()
    skipped = {}

    def names(self):
        """The names of all photos, a list of str."""
        return [self.name(index) for index in range(len(self))]

    def subset(self, places):
        """Some photos as a source of its own.

        Args:
            places: int `(count,)`, or a mask, bool with a value for each photo, such as
                `source.labels == 3`.

        Raises:
            ValueError: places that are not there, or a mask of another length.
        """
        return Subset(self, places)

    def without(self, names):
        """All photos but those with these names, as a source of its own.

        Args:
            names: strings, as `names()` gives them, of other photos too; or one; or a dict such as
                `ResizingImages.problems`.

        Raises:
            ValueError: names that are no strings, such as paths.
        """
        # A list would be searched once for each photo.
        names = {names} if isinstance(names, str) else set(names)
        if others := [name for name in names if not isinstance(name, str)]:
            raise ValueError(
                f"`names` must be strings, as `names()` gives them, got {others[0]!r}."
            )
        kept = self.subset([i for i, name in enumerate(self.names()) if name not in names])
        kept.skipped = {name: said for name, said in self.skipped.items() if name not in names}
        return kept

    def __repr__(self):
        classes = len(getattr(self, "class_names", ()))
        skipped = f", {len(self.skipped):,} skipped" if self.skipped else ""
        photos = counted(len(self), "photo")
        return f"<{type(self).__name__}{self._place()}: {photos}, {classes:,} classes{skipped}>"

    def _place(self):
        """Where the photos come from, for `repr`: a blank and words, or nothing."""
        place = getattr(self, "folder", None)
        return "" if place is None else f" {place}"

    def _check_skipped(self, folder, count):
        if self.skipped and not self.unreadable.allows(len(self.skipped), count):
            raise UnreadablePhotoError(
                f"{len(self.skipped)} of {count} files of {folder} cannot be read: "
                f"{listed(self.skipped)}. Mend or remove them, or change `unreadable` or "
                "`most_unreadable`."
            )


class Subset(PhotoSource):
    """Some photos of a source.

    Args:
        source: `PhotoSource`.
        places: int `(count,)`, in the source, or a mask, bool `(len(source),)`.
    """

    def __init__(self, source, places):
        self.source, self.places = source, _places(places, len(source))
        self.class_names, self.unreadable = source.class_names, source.unreadable
        if (labels := held_labels(source)) is not None:
            self.labels = labels[self.places]

    @LabelsOnDemand
    def labels(self):
        """Those of its source, where they were not known when this was made."""
        return self.source.labels[self.places]

    def __len__(self):
        return len(self.places)

    def __getitem__(self, index):
        return self.source[int(self.places[index])]

    def name(self, index):
        """The photo's name in the source."""
        return self.source.name(int(self.places[index]))

    def _place(self):
        return f" of {self.source!r}"


def _places(places, count):
    places = np.asarray(places)
    if places.dtype == bool and places.shape == (count,):
        return np.flatnonzero(places)  # taken for numbers, it would be photos 0 and 1 over and over
    whole = places.ndim == 1 and (np.issubdtype(places.dtype, np.integer) or not len(places))
    if not whole or not ((places >= -count) & (places < count)).all():
        raise ValueError(
            f"`places` must be whole numbers below {count}, or a mask of {count} values, got "
            f"{places.dtype} of shape {places.shape}."
        )
    places = places.astype(np.int64)
    return np.where(places < 0, places + count, places)


def check_classes(found, expected, where, all_needed=False):
    """Raises `ValueError` where a set has other classes than are expected, or lacks some."""
    check_once(expected, "class_names")
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if extra or (missing and all_needed):
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"also has {some(extra)}"] if extra else []
        raise ValueError(
            f"{where} has other classes than `class_names`: it {' and '.join(parts)}. "
            "What is validated on must have the classes that are trained on."
        )


def check_once(names, where):
    """Raises `ValueError` for a name that is there twice."""
    twice = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where} must have each name once, but has {some(twice)} several times.")


def some(names, most=5):
    """The first few names as text."""
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
