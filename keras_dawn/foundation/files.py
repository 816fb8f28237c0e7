"""Files that are written whole or not at all."""

import contextlib
import os
import re
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
    partial.unlink(missing_ok=True)
    try:
        # A file of its own, "x": through a link that somebody put there, another would be written.
        with open(partial, "xb") as file:
            yield file
            if durable:
                file.flush()
                # Else the rename could reach the disk before the content, and leave an empty file.
                os.fsync(file.fileno())
        os.replace(partial, path)
    # A signal's exception too: nothing half-written is left lying about.
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def sync(path):
    """Waits until a file that somebody else has written is on the disk, under its name."""
    with contextlib.suppress(OSError):  # one that was removed since, or a bucket's
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(Path(path).parent)


def utf8(text):
    """Text as UTF-8 bytes, whatever names of files it has in it.

    Where the locale cannot read a file's name, Python keeps the name's bytes as lone surrogates,
    which no encoding writes. They are taken for UTF-8, which nearly every name is in.

    Args:
        text: str.

    Returns:
        bytes.

    Example:
        >>> utf8("Pr\\udcc3\\udcbcfung").decode("utf-8")
        'Prüfung'
    """
    text = re.sub("[\udc80-\udcff]+", lambda found: _read_as_utf8(found[0]), text)
    return text.encode("utf-8", "replace")


def _read_as_utf8(surrogates):
    return surrogates.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _sync_folder(folder):
    if os.name == "nt":  # there a folder cannot be opened, and a rename is in the journal
        return
    with contextlib.suppress(OSError):  # a bucket's mount knows files alone
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
