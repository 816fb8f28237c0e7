"""The names of a million photos in little memory: each process of a training has them all."""

from array import array
from collections.abc import Sequence


class Names(Sequence):
    """Strings, kept as the bytes of all of them and where each ends.

    ImageNet's 1.28 million names take 50 MB, where a list of `Path` takes 550.

    Example:
        >>> names = Names()
        >>> names.extend(["cat/1.jpg", "dog/2.jpg"])
        >>> len(names), names[1]
        (2, 'dog/2.jpg')
    """

    def __init__(self):
        self._bytes, self._ends = bytearray(), array("q", [0])

    def extend(self, names):
        """Adds a list of str."""
        # A file's name may hold what is no letter; Python has halves of surrogates for it.
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        end = len(self._bytes)
        for one in encoded:
            end += len(one)
            self._ends.append(end)
        self._bytes += b"".join(encoded)

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index):
        place = range(len(self))[index]
        first, end = self._ends[place], self._ends[place + 1]
        return self._bytes[first:end].decode("utf-8", "surrogatepass")

    def __iter__(self):
        return map(self.__getitem__, range(len(self)))
