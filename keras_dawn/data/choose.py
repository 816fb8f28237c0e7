"""Which image set a recipe trains on, and why."""

import contextlib

from keras_dawn.data.cifar10 import load_cifar10
from keras_dawn.data.digits import load_digits

DATASETS = ("auto", "cifar10", "digits")


def choose_dataset(dataset="auto", data_dir=None, downloading=contextlib.nullcontext):
    """Loads the image set that was asked for.

    Args:
        dataset: `"cifar10"` (never anything else), `"digits"`, or `"auto"`: CIFAR-10 where
            it is on disk or can be downloaded, otherwise the built-in digits.
        data_dir: folder with CIFAR-10's official batches, or `None` to look for them.
        downloading: callable that gives a context for the time of a download, such as
            `TrainingClock.paused`: what DAWNBench's clock counts begins with data on disk.

    Returns:
        `(ImageSet, reason)`: the reason is a sentence for the user.

    Raises:
        ValueError: an unknown name, or damaged data.
        OSError: data that was asked for is not on disk and cannot be downloaded.
    """
    if dataset not in DATASETS:
        raise ValueError(f"`dataset` must be one of {', '.join(DATASETS)}, got {dataset!r}.")
    if dataset == "digits":
        if data_dir is not None:
            raise ValueError("`data_dir` is for CIFAR-10; the digits come with a package.")
        return load_digits(), "The built-in digits, as asked."
    if dataset == "cifar10" or data_dir is not None:
        images = _load_cifar10(data_dir, downloading)
        return images, f"CIFAR-10 from {images.source}, as asked."
    try:
        images = _load_cifar10(None, downloading)
    except OSError as error:
        return load_digits(), (
            "CIFAR-10 is neither on this machine nor to be downloaded "
            f"({_first_line(error)}), so this run uses the 5,000 built-in digits. It shows that "
            "everything works; it is no CIFAR-10 result. Pass --data_dir for the real thing."
        )
    return images, f"CIFAR-10 from {images.source}."


def _load_cifar10(data_dir, downloading):
    if data_dir is not None:
        return load_cifar10(data_dir)
    try:
        return load_cifar10(download=False)
    except FileNotFoundError:
        with downloading():
            load_cifar10()
        return load_cifar10(download=False)


def _first_line(error):
    return str(error).splitlines()[0]
