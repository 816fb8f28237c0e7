"""What a GPU's host does in a training, rehearsed on a GPU that is not there (`nullgpu/`)."""

from pathlib import Path

import nullgpu
import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(nullgpu.why_not() is not None, reason=f"null GPU: {nullgpu.why_not()}"),
]
