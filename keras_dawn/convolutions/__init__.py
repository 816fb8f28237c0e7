"""Convolutions on a CPU: the ways to compute them, and the table that chooses."""

from keras_dawn.convolutions.choice import Table, WayRule, table_in_use, table_named, use_table
from keras_dawn.convolutions.convolve import conv2d, ways_of

__all__ = ["Table", "WayRule", "conv2d", "table_in_use", "table_named", "use_table", "ways_of"]
