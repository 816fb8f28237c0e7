"""CIFAR-10's official Python batches: where they lie, how they are read and checked."""

import hashlib
import os
import pickle
from pathlib import Path

from keras_dawn.data.image_set import ImageSet
from keras_dawn.data.transforms import Normalize

import numpy as np

FOLDER = "cifar-10-batches-py"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
BATCH_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
MEAN = (0.4914, 0.48216, 0.44653)
STD = (0.24703, 0.24349, 0.26159)


def known_folders():
    """Where Keras, torchvision's users and our own download put the official batches."""
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    torch_home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    return [
        keras_home / "datasets" / f"{FOLDER}-target" / FOLDER,
        keras_home / "datasets" / FOLDER,
        Path("data") / FOLDER,
        Path.home() / "data" / FOLDER,
        torch_home / "datasets" / FOLDER,
        tfds_home() / "downloads" / "cifar10_batches" / FOLDER,
    ]


def tfds_home():
    """The folder of tensorflow-datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", Path.home() / "tensorflow_datasets"))


def find_batches(data_dir):
    """The folder with the official batches: `data_dir` itself or the one inside it."""
    data_dir = Path(data_dir).expanduser()
    if not data_dir.is_dir():
        raise FileNotFoundError(f"There is no folder {data_dir}.")
    for folder in (data_dir, data_dir / FOLDER):
        if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
            return folder
    found = sorted(path.name for path in data_dir.iterdir())
    listing = ", ".join(found[:5]) + (", …" if len(found) > 5 else "") or "nothing"
    raise FileNotFoundError(
        f"{data_dir} does not hold CIFAR-10's Python batches (data_batch_1 to 5, test_batch), "
        f"nor a folder {FOLDER} with them. It holds: {listing}."
    )


def read_batches(folder):
    """Reads the six official files of a folder, after checking each one's md5."""
    folder = Path(folder).expanduser()
    parts = [_read_batch(folder / name, md5) for name, md5 in BATCH_MD5.items()]
    return ImageSet(
        name="cifar10",
        source=str(folder),
        train_images=np.concatenate([images for images, _ in parts[:5]]),
        train_labels=np.concatenate([labels for _, labels in parts[:5]]),
        test_images=parts[5][0],
        test_labels=parts[5][1],
        class_names=CLASS_NAMES,
        normalize=Normalize(MEAN, STD),
    )


def check_md5(content, expected, name):
    """Raises `ValueError` unless the bytes are the official ones."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != expected:
        raise ValueError(
            f"{name} is truncated or altered: its md5 is {md5} ({len(content):,} bytes), "
            f"expected {expected}. Delete it and fetch it again from {URL}."
        )


def _read_batch(path, md5):
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; CIFAR-10 needs all of {', '.join(BATCH_MD5)} in one folder."
        )
    content = path.read_bytes()
    check_md5(content, md5, path)  # unpickling is safe for these very bytes only
    batch = pickle.loads(content, encoding="latin1")
    # The files hold planes of red, green and blue.
    images = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(batch["labels"], np.int64)
