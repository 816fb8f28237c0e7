"""Smaller copies of a photo set, as `prepare` wrote them: photos to read and to verify."""

import hashlib
import json
import re
from pathlib import Path

from keras_dawn.data.photos.photo_source import PhotoSource
from keras_dawn.data.photos.shards import open_reader

import numpy as np

INDEX = "index.json"
_SHARD = re.compile(r"shard-\d+-of-\d+\.\w+", re.ASCII)
LABEL_BYTES = 4  # a record is the class number, little-endian, and then the JPEG


class PreparedImages(PhotoSource):
    """What `prepare` wrote: `source[i]` is `(bytes of a JPEG, class number)`.

    Args:
        folder: path.

    Raises:
        FileNotFoundError: no finished copies there.
        ValueError: a shard that is missing or has another size than when it was written, or an
            index that names files elsewhere.
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser()
        index = self.folder / INDEX
        document = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
        if not document.get("finished"):
            raise FileNotFoundError(
                f"{self.folder} holds no finished copies; run keras_dawn.data.photos.prepare."
            )
        self.class_names = tuple(document["class_names"])
        self.short_side = document["short_side"]
        self.problems = {k: v for shard in document["shards"] for k, v in shard["problems"].items()}
        labels = [np.array(shard["labels"], np.int64) for shard in document["shards"]]
        self.labels = np.concatenate(labels)  # of a shard without a readable photo none
        self._names = [name for shard in document["shards"] for name in shard["names"]]
        self._shards, self._readers = document["shards"], {}
        # Shards differ in length where photos were left out.
        self._ends = np.cumsum([len(shard["labels"]) for shard in self._shards])
        for shard in self._shards:
            path = shard_path(self.folder, shard["file"])
            if not path.exists() or path.stat().st_size != shard["bytes"]:
                raise ValueError(f"{path} is missing or damaged: delete it and prepare again.")

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side="right"))
        start = self._ends[number - 1] if number else 0
        (record,) = self._reader(number).read([int(index - start)])
        return record[LABEL_BYTES:], int.from_bytes(record[:LABEL_BYTES], "little")

    def name(self, index):
        """The name of the photo in the set it was copied from."""
        return self._names[index]

    def verify(self):
        """Reads every shard and compares its SHA-256.

        Raises:
            ValueError: a shard that has changed.
        """
        for shard in self._shards:
            if sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise ValueError(f"{self.folder / shard['file']} is damaged: prepare it again.")

    def _reader(self, number):
        if number not in self._readers:
            self._readers[number] = open_reader(self.folder / self._shards[number]["file"])
        return self._readers[number]


def shard_path(folder, name):
    """Where a shard lies that an index names; it names none outside its folder.

    Raises:
        ValueError: another name than `prepare` gives.
    """
    if not isinstance(name, str) or not _SHARD.fullmatch(name):
        raise ValueError(
            f"{folder / INDEX} names {name!r} among its shards, as prepare never does: delete the "
            "index and prepare again."
        )
    return folder / name


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
