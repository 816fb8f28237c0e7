"""All everyday cases, in the order of the table."""

import importlib

from everyday_twins import SMALL

KINDS = (
    "plain", "recurrent", "attention", "series", "images", "augmentation", "videos", "own_python",
    "hub", "hub_others",
)  # fmt: skip


def all_cases(scale=SMALL):
    """Every `Case`; KerasHub's only where it is installed."""
    found = []
    for kind in KINDS:
        found += importlib.import_module(f"everyday_{kind}").cases(scale)
    return found
