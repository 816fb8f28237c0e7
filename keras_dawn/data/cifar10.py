"""CIFAR-10 (Krizhevsky 2009): found on disk or downloaded, and always checked."""

import importlib.util
import warnings

from keras_dawn.data.cifar10_batches import FOLDER, find_batches, known_folders, read_batches
from keras_dawn.data.cifar10_download import download_batches


def load_cifar10(data_dir=None, download=True):
    """Loads CIFAR-10 from a folder, from other libraries' caches, or from its home page.

    Args:
        data_dir: folder that holds the official Python batches, or their folder
            `cifar-10-batches-py`. With it nothing else is looked at.
        download: bool, whether to download (170 MB, with a progress bar) what is not on
            disk, into `~/tensorflow_datasets`, through `Cifar10Batches` where there is
            array_record.

    Returns:
        `ImageSet` with 50,000 training and 10,000 test images, 32 × 32 × 3.

    Raises:
        FileNotFoundError: there is no such folder, or nothing on disk and no download.
        ValueError: a file is truncated or altered (its md5 is not the official one).
        OSError: the download failed.
    """
    if data_dir is not None:
        return read_batches(find_batches(data_dir))
    for folder in known_folders():
        if not folder.is_dir():
            continue
        try:
            return read_batches(folder)
        except (OSError, ValueError) as error:
            # A damaged copy of another library's is said and passed over; one that was named is an
            # error.
            warnings.warn(f"CIFAR-10 in {folder} is not used: {error}", stacklevel=2)
    # There are no wheels of array_record for Windows: there the official batches are kept instead.
    as_records = importlib.util.find_spec("array_record") is not None
    if as_records:
        from keras_dawn.data import cifar10_builder  # not before: tensorflow_datasets takes seconds

        prepared = cifar10_builder.read_prepared()
        if prepared is not None:
            return prepared
    if not download:
        raise FileNotFoundError(
            "CIFAR-10 is not on this machine. Looked in: "
            + ", ".join(str(folder) for folder in known_folders())
            + f". Pass the folder that holds {FOLDER}, or allow the download."
        )
    if not as_records:
        return read_batches(download_batches())
    return cifar10_builder.download_and_read()
