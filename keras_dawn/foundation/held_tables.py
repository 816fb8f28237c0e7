"""Tables of pandas in the data: shuffled, sorted, rows chosen; as places of rows."""

import hashlib
import sys

from keras_dawn.foundation.held_lists import HeldError

import numpy as np
import torch

_SAMPLE = 100_000  # rows of a longer table by which a change is noticed


class HeldTable:
    """A `DataFrame` or a `Series`, by which rows it has and in what order."""

    kind = "table"

    def __init__(self, value, budget):
        # The memory is shared until somebody writes to it, and written to rarely.
        self._first, self._mark = value.copy(deep=len(value) <= _SAMPLE), _marked(value)

    def changed(self, value):
        return _marked(value) != self._mark

    def encoded(self, value, whose):
        fresh = value.index.equals(sys.modules["pandas"].RangeIndex(len(value)))
        for labels in (True, False) if fresh else (True,):
            places = _places(_hashes(self._first, labels), _hashes(value, labels))
            if places is not None:
                break
        else:
            raise ValueError(
                f"The table {whose} holds other rows than when the training began, or other labels "
                "of them, which a checkpoint cannot hold. Choose and shuffle its rows and no more, "
                "or give what holds it `state_dict` and `load_state_dict`."
            )
        index = "kept" if labels else "fresh"
        of = _digest(self._first)
        return {"places": torch.from_numpy(places.astype(np.int64)), "index": index, "of": of}

    def put(self, value, saved, replace):
        if _digest(self._first) != saved["of"]:
            raise HeldError(
                "starts with other rows than in the first run, or in another order. Give the "
                "table that the training began with, and seed what shuffles it first."
            )
        table = self._first.iloc[saved["places"].numpy()]
        replace(table.reset_index(drop=True) if saved["index"] == "fresh" else table)

    def put_first(self, value, replace):
        replace(self._first.copy())


def _places(held, sought):
    """Where each of the sought numbers is among those held; `None` unless all are."""
    if len(held) == 0:
        return None
    order = np.argsort(held, kind="stable")
    places = order[np.searchsorted(held, sought, sorter=order).clip(max=len(held) - 1)]
    return places if (held[places] == sought).all() else None


def _hashes(table, labels=False):
    hashed = sys.modules["pandas"].util.hash_pandas_object
    try:
        return hashed(table, index=labels).to_numpy()
    except TypeError:  # cells that hold lists
        return hashed(table.map(repr), index=labels).to_numpy()


def _marked(table):
    few = table.iloc[:: 1 + len(table) // _SAMPLE]
    labels = sys.modules["pandas"].util.hash_pandas_object(few.index).to_numpy()
    names = list(map(str, table.columns)) if hasattr(table, "columns") else []
    return len(table), names, _hashes(few).tobytes(), labels.tobytes()


def _digest(table):
    return hashlib.sha256(_hashes(table).tobytes()).digest()
