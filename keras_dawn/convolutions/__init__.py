"""Convolutions on a CPU: the ways to compute them, and the table that chooses."""

from keras_dawn.convolutions.choice import Rule, Table, table_in_use, table_named, use_table, way_of
from keras_dawn.convolutions.conv2d import conv2d
from keras_dawn.convolutions.sizes import Sizes

__all__ = [
    "Rule",
    "Sizes",
    "Table",
    "conv2d",
    "table_in_use",
    "table_named",
    "use_table",
    "way_of",
]
