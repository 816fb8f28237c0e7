"""Checkpoint files: written whole or not at all, read if whole, by one job at a time."""

import errno
import hashlib
import io
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_dawn.foundation.files import written_whole

import filelock
import torch

_DIGEST_BYTES = 32
_LOCKED = {}  # folders that this process holds, with their locks
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class CheckpointFolder:
    """The checkpoints of one training, the newest few.

    A checkpoint is written beside its place with its SHA-256, flushed to the disk and moved
    there. Reading passes over files that are damaged. Nothing whole is deleted before another
    one is whole.

    Args:
        path: folder.
        keep: int from 1 up, how many checkpoints to keep.
    """

    def __init__(self, path, keep):
        self.path, self.keep = Path(path), keep
        self._writer = self._writing = None

    def take(self):
        """Makes the folder and takes it for this process.

        Raises:
            OSError: the folder cannot be made or written, or another process has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            for left in self.path.glob(".*.partial"):  # of a process that was killed
                left.unlink()
        except filelock.Timeout:
            raise OSError(
                f"Another process trains with the checkpoints in {self.path}. Wait until it has "
                "ended, or give this one another folder."
            ) from None
        except OSError as error:
            raise OSError(
                f"The checkpoint folder {self.path} cannot be written: {error}. Give a folder "
                "that this user may write to, on a disk with space left."
            ) from None

    def _lock(self):
        name = str(self.path.resolve())
        if name in _LOCKED:
            return
        # No soft lock in place of the system's: a machine that is taken away would leave it behind,
        # and its successor could not go on.
        lock = filelock.FileLock(self.path / ".lock", thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except NotImplementedError:  # a file system without locks
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise
        _LOCKED[name] = lock

    def close(self):
        """Leaves the folder to others."""
        if lock := _LOCKED.pop(str(self.path.resolve()), None):
            lock.release()

    def save(self, epoch, step, state):
        """`write`, on a GPU in a thread of its own; a full disk is warned about."""
        self.finish()
        if torch.cuda.is_available():
            self._writer = self._writer or ThreadPoolExecutor(1)
            self._writing = self._writer.submit(self.write, epoch, step, state)
            return
        try:
            self.write(epoch, step, state)
        except OSError as error:
            self._warn_of(error)

    def finish(self):
        """Waits for the file that is being written."""
        writing, self._writing = self._writing, None
        if writing is not None and (error := writing.exception()) is not None:
            if not isinstance(error, OSError):
                raise error
            self._warn_of(error)

    def _warn_of(self, error):
        files = self.files()
        kept = f"the last one is {files[-1].name}" if files else "there is none yet"
        warnings.warn(
            f"No checkpoint was written to {self.path}: {error}. The training goes on; {kept}. "
            "Make room on the disk.",
            stacklevel=2,
        )

    def write(self, epoch, step, state):
        """Writes a checkpoint and removes those that are too many.

        Raises:
            OSError: it could not be written; older ones are untouched.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        place = self.path / f"checkpoint-{epoch:05}-{step:07}.pt"
        with written_whole(place, durable=True) as file:
            file.write(content)
            file.write(hashlib.sha256(content).digest())
        for path in self.files()[: -self.keep]:
            path.unlink()

    def newest(self):
        """The newest whole checkpoint's state, or `None`."""
        for path in reversed(self.files()):
            content = path.read_bytes()
            content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
            if hashlib.sha256(content).digest() == digest:
                # Written by this package: it holds random states, which are no tensors.
                return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
            warnings.warn(
                f"{path} is damaged and passed over; an older checkpoint is used.", stacklevel=2
            )
        return None

    def files(self):
        """Paths of the checkpoints, the oldest first; their names say epoch and step."""
        if not self.path.is_dir():
            return []
        pattern = re.compile(r"checkpoint-\d{5}-\d{7}\.pt")
        return sorted(path for path in self.path.iterdir() if pattern.fullmatch(path.name))
