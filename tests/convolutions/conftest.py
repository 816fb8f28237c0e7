"""Tables of ways for tests, whatever the processor is."""

from keras_dawn.convolutions import Table, WayRule, choice
from keras_dawn.convolutions.way import STAGES
from keras_dawn.convolutions.ways import WAYS

import pytest


def table_of(*ways):
    """A table in which every stage of every convolution goes the first of these ways that can."""
    return Table(
        "test",
        tuple(
            WayRule(stage, precision, way, {})
            for way in ways
            for stage in STAGES
            for precision in ("float32", "bfloat16")
            if hasattr(WAYS[way], stage) and precision in WAYS[way].precisions
        ),
    )


@pytest.fixture
def use(monkeypatch):
    """Puts a table of these ways in use for one test."""

    def put(*ways):
        table = table_of(*ways)
        monkeypatch.setattr(choice._InUse, "table", table)
        return table

    return put
