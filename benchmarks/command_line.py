"""How a benchmark is called: as a recipe is, by `run`; and what a list in a flag may hold."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
from absl import flags

from recipe_parts.command_line import run  # noqa: F401


def takes_some_of_its_default(*names):
    """Refuses in list flags what their defaults do not hold, and an empty list."""
    for name in names:
        known = flags.FLAGS[name].default
        flags.register_validator(
            name,
            lambda given, known=frozenset(known): bool(given) and known.issuperset(given),
            f"there are {known}",
        )
