"""Files with many records that are read in any order: array_record, or plain bytes without it."""

import importlib.util
import struct

_PLACE = struct.Struct("<Q")  # where a record begins; the last one: how many there are


def has_array_record():
    """Whether array_record is there; there are no wheels of it for Windows."""
    return importlib.util.find_spec("array_record") is not None


def new_suffix():
    """How the names of new files end on this machine."""
    return ".array_record" if has_array_record() else ".records"


def open_writer(path, suffix):
    """Something with `write(bytes)` and `close()` for files that end on `suffix`.

    Raises:
        ImportError: a file of array_record where it is not installed.
    """
    if suffix == ".records":
        return PlainWriter(path)
    _need_array_record(path)
    from array_record.python.array_record_module import ArrayRecordWriter

    # Records one by one, since they are read in any order; JPEGs do not compress further.
    return ArrayRecordWriter(str(path), "group_size:1,uncompressed")


def open_reader(path):
    """Something with `read([index])`, which gives a list with that record's bytes.

    Raises:
        ImportError: a file of array_record where it is not installed.
    """
    if path.suffix == ".records":
        return PlainReader(path)
    _need_array_record(path)
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(str(path))


def _need_array_record(path):
    if not has_array_record():
        raise ImportError(
            f"{path} needs array_record, which is not installed here (it has no wheels for "
            "Windows). Prepare copies in another folder, or use these on Linux or macOS."
        )


class PlainWriter:
    """Writes records one after another, then the place of each, then their number.

    Args:
        path: file to write.
    """

    def __init__(self, path):
        self._file = open(path, "wb")  # noqa: SIM115  (closed by `close`)
        self._places = []

    def write(self, record):
        """Adds a record, bytes."""
        self._places.append(self._file.tell())
        self._file.write(record)

    def close(self):
        """Writes the places; the file is whole then."""
        places = [*self._places, self._file.tell(), len(self._places)]
        self._file.write(b"".join(_PLACE.pack(place) for place in places))
        self._file.close()


class PlainReader:
    """Reads what `PlainWriter` wrote.

    Args:
        path: file to read.
    """

    def __init__(self, path):
        self._path = path
        with open(path, "rb") as file:
            file.seek(-_PLACE.size, 2)
            (count,) = _PLACE.unpack(file.read())
            file.seek(-_PLACE.size * (count + 2), 2)
            table = file.read(_PLACE.size * (count + 1))
        self._places = [place for (place,) in _PLACE.iter_unpack(table)]

    def read(self, indices):
        """The records at these places, a list of bytes."""
        with open(self._path, "rb") as file:  # a handle of its own: threads read side by side
            return [self._record(file, index) for index in indices]

    def _record(self, file, index):
        begin, end = self._places[index : index + 2]
        file.seek(begin)
        return file.read(end - begin)
