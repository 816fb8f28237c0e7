"""Pictures for the tests."""

import io

import numpy as np
from PIL import Image


def smooth(height, width, seed=0):
    """A picture without sharp edges, which survives JPEG and resizing."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.BICUBIC))


def jpeg(pixels, **arguments):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **arguments)
    return file.getvalue()
