"""A folder of checkpoints is one process's at a time."""

import contextlib
import fcntl
import os
from pathlib import Path

_HELD = {}  # folders that this process holds, with the open lock file


def take(folder):
    """Takes a folder for this process; taking it twice is as taking it once.

    Raises:
        BlockingIOError: another process has it.
    """
    name = str(Path(folder).resolve())
    if name in _HELD:
        return
    file = open(Path(folder) / ".lock", "w")  # noqa: SIM115  (open as long as the process lives)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError:  # a file system without locks
        file.close()
        return
    _HELD[name] = file


def leave(folder):
    """Leaves a folder to others."""
    if file := _HELD.pop(str(Path(folder).resolve()), None):
        file.close()


def _forget():
    """A forked process, such as a data loader's worker, holds no lock of its parent's.

    Otherwise workers that outlive a killed process would keep the folder from the next one.
    """
    for file in _HELD.values():
        with contextlib.suppress(OSError):
            file.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_forget)
