"""CIFAR-10's official batches, downloaded as they are: for machines without array_record."""

import tarfile
import urllib.request
from pathlib import Path

from keras_dawn.data import cifar10_batches
from keras_dawn.foundation.files import written_whole


def download_batches(folder=None, url=cifar10_batches.URL, archive_md5=cifar10_batches.ARCHIVE_MD5):
    """Downloads the archive, with a progress bar, checks it and unpacks it.

    Args:
        folder: where to; by default one in which `load_cifar10` finds them again.
        url: where from.
        archive_md5: md5 that the file must have.

    Returns:
        `Path` of the folder with the six batches.

    Raises:
        ConnectionError: it cannot be downloaded.
        ValueError: another file came than the official one; nothing of it is kept.
    """
    folder = Path(folder or cifar10_batches.known_folders()[-1].parent).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / url.rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=15) as answer, written_whole(archive) as file:
            _copy(answer, file)
    except OSError as error:
        raise ConnectionError(f"CIFAR-10 cannot be downloaded from {url}: {error}") from error
    try:
        cifar10_batches.check_md5(archive.read_bytes(), archive_md5, archive)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    finally:
        archive.unlink()
    return folder / cifar10_batches.FOLDER


def _copy(answer, file):
    from rich.progress import wrap_file  # not before: it takes its time

    # 0 where the server does not say: the bar then has no end.
    size = int(answer.headers.get("Content-Length", 0))
    with wrap_file(answer, size, description="CIFAR-10") as source:
        while part := source.read(1 << 20):
            file.write(part)
