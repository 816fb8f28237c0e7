"""A folder of checkpoints is one process's at a time."""

import errno
import os
from pathlib import Path

import filelock

_HELD = {}  # folders that this process holds, with their locks
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


def take(folder):
    """Takes a folder for this process; taking it twice is as taking it once.

    Raises:
        filelock.Timeout: another process has it.
    """
    name = str(Path(folder).resolve())
    if name in _HELD:
        return
    # No soft lock in place of the system's: a machine that is taken away would leave it behind,
    # and its successor could not go on.
    lock = filelock.FileLock(Path(folder) / ".lock", thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except NotImplementedError:  # a file system without locks
        # Two jobs in one folder are then not noticed, which beats not to train at all.
        return
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return
        raise
    _HELD[name] = lock


def leave(folder):
    """Leaves a folder to others."""
    if lock := _HELD.pop(str(Path(folder).resolve()), None):
        lock.release()


def _forget():
    """A forked process, such as a data loader's worker, holds no lock of its parent's.

    Otherwise workers that outlive a killed process would keep the folder from the next one. The
    file is closed and not released: that would release it for the parent too.
    """
    for lock in _HELD.values():
        held = lock._context
        if held.lock_file_fd is not None:
            os.close(held.lock_file_fd)
            held.lock_file_fd = None
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
