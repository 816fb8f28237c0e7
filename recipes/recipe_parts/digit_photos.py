"""The built-in digits as a folder of JPEG photos, for a recipe without a data set."""

from pathlib import Path

from keras_dawn.data.digits import load_digits

import numpy as np
from PIL import Image


def write_digit_photos(folder, train_count, val_count):
    """Writes real digits as photos of different sizes and shapes.

    Args:
        folder: path; `train/` and `val/` are made in it, unless they exist.
        train_count, val_count: int, how many of the 4,000 and 1,000 digits.

    Returns:
        `Path` of the folder.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    digits = load_digits()
    random = np.random.default_rng(0)
    parts = (
        ("train", digits.train_images, digits.train_labels, train_count),
        ("val", digits.test_images, digits.test_labels, val_count),
    )
    for part, images, labels, count in parts:
        for digit in range(10):
            (folder / part / str(digit)).mkdir(parents=True)
        for number in range(min(count, len(images))):
            width, height = (int(side) for side in random.integers(40, 64, 2))
            picture = Image.fromarray(images[number]).resize((width, height), Image.BICUBIC)
            picture.save(folder / part / str(labels[number]) / f"{number:04}.jpg", quality=90)
    return folder
