"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def written_whole(path, *, durable=False):
    """A file to write bytes into, which takes the place of `path` when the block has ended.

    It lies beside its place under another name until then, so that whoever is killed in between,
    or finds the disk full, leaves what was there before.

    Args:
        path: where the file is to be.
        durable: bool, whether it must be on the disk before it takes its place, for what must
            outlive a machine that loses its power.

    Raises:
        OSError: it could not be written.

    Example:
        >>> with written_whole("numbers.txt") as file:                  # doctest: +SKIP
        ...     file.write(b"1 2 3")
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder):
    with contextlib.suppress(OSError):  # a bucket's mount knows files alone
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
