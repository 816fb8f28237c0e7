"""Photos whose labels stand in a table: a CSV file, a data frame, columns."""

import csv
import math
from pathlib import Path

from keras_dawn.data.photos.photo_source import PhotoSource, check_once, some
from keras_dawn.data.photos.unreadable import Unreadable

import numpy as np


class PhotoTable(PhotoSource):
    """Photos in a folder, labelled by a table with a row for each.

    Labels that are all whole numbers are ordered as numbers, others as text. A photo may have
    several labels: in one column with a separator, as lists, or as columns of 0 and 1.

    Args:
        table: path of a CSV file in UTF-8 with a header (columns separated by commas, or else by
            semicolons or tabs); or a dict of columns, or a data frame.
        folder: path that the table's paths begin from.
        path: str, the column of paths.
        label: str, the column of labels; or a list of columns of 0 and 1, one a class.
        separator: str between several labels of a photo, such as `" "` or `";"`.
        class_names: the classes in the order of their numbers; by default those of the table.
        unreadable, most_unreadable: as for `ImageFolder`; a file that is not there counts too.

    Attributes:
        labels: int64 `(count,)`, or where photos may have several float32 `(count, classes)`.
        class_names: tuple of str.
        skipped: dict from the names of files that are not there to the reason.

    Raises:
        FileNotFoundError: no such table or folder.
        ValueError: a column that is not there, class names that are no list, a row without a label
            (where each has one), a label that is not one of the classes, no rows, or too many files
            that are not there.

    Example:
        >>> train = PhotoTable("train.csv", "photos", path="image", label="tags",
        ...                    separator=" ")                           # doctest: +SKIP
    """

    def __init__(
        self,
        table,
        folder,
        *,
        path="path",
        label="label",
        separator=None,
        class_names=None,
        unreadable="leave_out",
        most_unreadable=0.1,
    ):
        self.folder = Path(folder).expanduser()
        self.unreadable = Unreadable(unreadable, most_unreadable)
        if isinstance(class_names, str):
            raise ValueError(f"`class_names` must be a list of str, got {class_names!r}.")
        columns = _columns(table, path)
        paths = [str(p) for p in _column(columns, path)]
        if not paths:
            raise ValueError("The table has no rows.")
        if not self.folder.is_dir():
            raise FileNotFoundError(f"There is no folder {self.folder}.")
        several = separator is not None or not isinstance(label, str)
        if isinstance(label, str):
            rows = [_labels(value, separator) for value in _column(columns, label)]
            several = several or any(_is_list(value) for value in columns[label])
        else:
            rows = _of_indicators(columns, label)
            class_names = label if class_names is None else class_names
        self.class_names = _classes(rows) if class_names is None else tuple(map(str, class_names))
        check_once(self.class_names, "class_names")
        labels = _numbers(rows, self.class_names, paths, several)
        self._paths, self.skipped, kept = [], {}, []
        for row, name in enumerate(paths):
            if (self.folder / name).is_file():
                self._paths.append(name)
                kept.append(row)
            else:
                self.skipped[name] = "not there"
        self._check_skipped(self.folder, len(paths))
        self.labels = labels[kept]

    def __len__(self):
        return len(self._paths)

    def __getitem__(self, index):
        label = self.labels[index]
        data = (self.folder / self._paths[index]).read_bytes()
        return data, label if self.labels.ndim == 2 else int(label)

    def name(self, index):
        """The photo's path in the table."""
        return self._paths[index]


def _columns(table, column):
    if isinstance(table, (str, Path)):
        return _columns_of_file(Path(table).expanduser(), column)
    # A data frame of polars goes through its columns and not through their names.
    columns = {name: list(table[name]) for name in getattr(table, "columns", table)}
    if len(counts := {len(values) for values in columns.values()}) > 1:
        raise ValueError(f"The table's columns must be equally long, got {sorted(counts)} rows.")
    return columns


def _columns_of_file(path, column):
    try:
        # "-sig": spreadsheets put a byte-order mark first, which would become part of a column's
        # name.
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            mark = _between(header, column)
            reader = csv.DictReader(file, restkey=_TOO_MANY, restval="", delimiter=mark)
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be a CSV file in UTF-8 ({error.reason} at byte {error.start}). Save it "
            "as UTF-8, or read it with pandas and give the data frame."
        ) from None
    names = reader.fieldnames or ()
    check_once(names, f"The header of {path}")
    for line, row in rows:
        # Of labels with a comma and without quotation marks only the first would be read.
        if any(row.pop(_TOO_MANY, ())):
            raise ValueError(
                f"Line {line} of {path} has more values than the header has columns: put values "
                "that hold the delimiter in quotation marks."
            )
    return {name: [row[name] for _, row in rows] for name in names}


_TOO_MANY = object()


def _between(header, column):
    """What stands between the columns: spreadsheets write semicolons where commas are decimal."""
    marks = [mark for mark in ",;\t" if mark in header]
    # A name in quotation marks may hold another of them.
    fitting = [mark for mark in marks if column in next(csv.reader([header], delimiter=mark))]
    return next(iter(fitting or marks), ",")


def _column(columns, name):
    if name not in columns:
        raise ValueError(
            f"The table has no column {name!r}; it has {some(list(map(repr, columns)))}."
        )
    return columns[name]


def _labels(value, separator):
    """A row's labels as a list of str."""
    if _is_list(value):
        return [_name(v) for v in value]
    if _is_missing(value):
        return []
    parts = [_name(value)] if separator is None else _name(value).split(separator)
    return [part.strip() for part in parts if part.strip()]


def _is_missing(value):
    """Whether it is `None`, NaN, or what pandas has in their place."""
    nan = isinstance(value, (float, np.floating)) and math.isnan(value)
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def _is_list(value):
    return isinstance(value, (list, tuple, np.ndarray))


def _name(value):
    """A label's name; a column of whole numbers with one missing becomes floats in pandas."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _of_indicators(columns, names):
    marks = np.array([[_mark(v) for v in _column(columns, name)] for name in names]).T
    if not np.isin(marks, (0, 1)).all():
        raise ValueError(f"The columns {some(list(names))} must hold 0 and 1, or true and false.")
    return [[name for name, mark in zip(names, row, strict=True) if mark] for row in marks]


def _mark(value):
    """0.0 or 1.0, or NaN for what is neither."""
    word = str(value).strip().lower()
    if word in ("true", "false"):
        return float(word == "true")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _classes(rows):
    found = {label for row in rows for label in row}
    if all(label.removeprefix("-").isdecimal() for label in found):
        # As text 10 would come before 9. A set has no order: of 1 and 01, both 1, the text decides.
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def _numbers(rows, class_names, paths, several):
    numbers = {name: number for number, name in enumerate(class_names)}
    for path, row in zip(paths, rows, strict=True):
        if not several and len(row) != 1:
            raise ValueError(f"{path} has no label.")
        unknown = [label for label in row if label not in numbers]
        if unknown:
            raise ValueError(f"{path} has the label {unknown[0]!r}, which is none of the classes.")
    if not several:
        return np.array([numbers[row[0]] for row in rows], np.int64)
    labels = np.zeros((len(rows), len(class_names)), np.float32)
    for place, row in enumerate(rows):
        labels[place, [numbers[label] for label in row]] = 1
    return labels
