"""What a source of photos knows of its labels without reading the photos."""

import functools

import numpy as np


class LabelsOnDemand(functools.cached_property):
    """The `labels` of a source that reads all of its photos to know them, made when asked for."""


def held_labels(source):
    """The labels that a source has in memory, or `None`: nothing is read for them."""
    if isinstance(getattr(type(source), "labels", None), LabelsOnDemand):
        return vars(source).get("labels")
    return getattr(source, "labels", None)


def has_several_labels(source):
    """Whether a source's labels are `(count, classes)`."""
    return np.ndim(held_labels(source)) == 2
