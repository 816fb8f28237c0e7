"""How a benchmark is called: as a recipe is, by `run`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
from recipe_parts.command_line import run  # noqa: F401
