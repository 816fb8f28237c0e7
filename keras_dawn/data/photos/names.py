"""The names of a million photos in little memory: each process of a training has them all."""

from collections.abc import Sequence

import numpy as np


class Names(Sequence):
    """Strings that do not change, kept as the bytes of all of them and where each ends.

    ImageNet's 1.28 million names take 50 MB, where a list of `Path` takes 550.

    Args:
        names: list of str.

    Example:
        >>> names = Names.joined([Names(["cat/1.jpg"]), Names(["dog/2.jpg"])])
        >>> len(names), names[1]
        (2, 'dog/2.jpg')
    """

    def __init__(self, names=()):
        # A file's name may hold what is no letter; Python has halves of surrogates for it.
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    @classmethod
    def joined(cls, parts):
        """The names of several `Names`, one after the other."""
        parts, whole, first = list(parts), cls(), 0
        ends = [whole._ends]
        for part in parts:
            ends.append(part._ends[1:] + first)
            first += len(part._bytes)
        whole._bytes = b"".join(part._bytes for part in parts)
        whole._ends = np.concatenate(ends)
        return whole

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Names([self[place] for place in range(len(self))[index]])
        place = range(len(self))[index]
        first, end = self._ends[place : place + 2].tolist()
        return self._bytes[first:end].decode("utf-8", "surrogatepass")

    def __iter__(self):
        return map(self.__getitem__, range(len(self)))
