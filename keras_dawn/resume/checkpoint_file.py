"""One checkpoint as a file: data with its SHA-256, and never a program."""

import contextlib
import hashlib
import io

from keras_dawn.foundation.files import written_whole
from keras_dawn.foundation.plain_state import check_plain

import torch

_DIGEST_BYTES = 32


class NotWholeError(Exception):
    """What is wrong with a file, such as "is damaged"."""


def write(path, state):
    """Writes a structure of plain values and tensors, whole or not at all.

    Raises:
        OSError: it could not be written; what was there before is untouched.
        TypeError: something in it is neither, and could not be read again.
    """
    check_plain(state)
    with written_whole(path, durable=True) as file, _without_checksums():
        hashed = _Hashed(file)
        try:
            torch.save(state, hashed)
        except RuntimeError as error:
            # torch closes its archive after a failed write, and complains of that instead.
            raise hashed.failed or _first(error) from None
        file.write(hashed.digest.digest())


class _Hashed:
    """A file that is hashed while it is written: no second copy of it is held in memory."""

    def __init__(self, file):
        self._file, self.digest = file, hashlib.sha256()
        self.failed = None  # what a write raised

    def write(self, part):
        try:
            self.digest.update(part)
            return self._file.write(part)
        except BaseException as error:  # Ctrl-C too
            self.failed = self.failed or error
            raise

    def flush(self):
        self._file.flush()


def _first(error):
    """The exception during whose handling the others came."""
    while error.__context__ is not None:
        error = error.__context__
    return error


@contextlib.contextmanager
def _without_checksums():
    """torch adds a checksum of its own to every tensor; the hash of the file says more."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


def read(path):
    """What `write` was given.

    Raises:
        NotWholeError: bytes are missing or others than were written, or the file is not of this
            package: nothing in it is run to find that out.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotWholeError(f"cannot be read ({error})") from None
    content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise NotWholeError("is damaged")
    try:
        # The hash is no signature: whoever may write into the folder can put a file there.
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that was made up brings about
        first = str(error).strip().splitlines()[:1]
        raise NotWholeError(
            "is refused: it holds more than data, as no checkpoint of this package does "
            f"({type(error).__name__}: {first[0][:100] if first else ''})"
        ) from None
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise NotWholeError("is refused: it is no checkpoint of this package")
    return state
