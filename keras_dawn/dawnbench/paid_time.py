"""How long the machines of a training were paid for, interruptions included."""

import contextlib
import hashlib
import json
import os
import re
import time
import warnings
from pathlib import Path

from keras_dawn.foundation.files import written_whole

_NAME = re.compile(r"process-(\d{1,18})\.json", re.ASCII)


class _Life:
    """What of this process's life has been counted, and in which folders' files."""

    def __init__(self):
        self.counted_until = time.monotonic()  # at first about when the process began
        self.files = {}  # `[path, seconds]` by folder


_LIFE = _Life()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIFE.__init__)


class PaidTime:
    """Adds up the lives of all processes that trained from one folder of checkpoints.

    Each process keeps a file with the seconds that it has been seen alive, so that one that was
    killed counts up to shortly before. Only durations are kept, by a clock that is never set
    back. What passes before Python runs (booting, installing) is not seen. A process that begins
    in a folder again, as a notebook does, goes on with its file; one that trains from several
    folders counts each second in one of them, that in which a training begins or goes on next.

    Args:
        folder: folder for the files.
        every_seconds: float, how often the file is refreshed.
    """

    def __init__(self, folder, every_seconds=10.0):
        self.folder, self.every_seconds = Path(folder), every_seconds
        self._file = None

    def begin(self):
        """Starts the count of this process, from when it imported this package."""
        folder = self.folder.resolve()
        self._file = _LIFE.files.get(folder)
        if self._file is None or not self._file[0].is_file():
            # Only rank 0 of a job writes, so that no two processes ask for a number at once.
            numbers = [
                int(found[1]) for path in self._files() if (found := _NAME.fullmatch(path.name))
            ]
            # Not their count: where one was deleted, that would be the number of another.
            number = max(numbers, default=0) + 1
            self._file = _LIFE.files[folder] = [folder / f"process-{number:04}.json", 0.0]
        self.note()

    def note(self):
        """Writes down that this process is alive; on a full disk the last time stands."""
        now, file = time.monotonic(), self._file
        file[1] += now - _LIFE.counted_until
        _LIFE.counted_until = now
        with contextlib.suppress(OSError), written_whole(file[0]) as opened:
            opened.write(_content(round(file[1], 3)))

    def note_now_and_then(self):
        """`note`, if the last one is `every_seconds` ago."""
        if time.monotonic() - _LIFE.counted_until >= self.every_seconds:
            self.note()

    @property
    def processes(self):
        """How many processes there were."""
        return len(self._files())

    def seconds(self):
        """What all of them together took."""
        return sum(_seconds_in(path) for path in self._files())

    def _files(self):
        found = self.folder.glob("process-*.json")
        return sorted(path for path in found if path.is_file())


def _seconds_in(path):
    """The seconds in a process's file; 0 with a warning where it is damaged."""
    try:
        content = path.read_bytes()
        seconds = json.loads(content)["seconds"]
        if content != _content(seconds) or not seconds >= 0:
            raise ValueError("its bytes are not those that were written")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        warnings.warn(
            f"{path} is damaged ({error}): the time of that process is not counted.", stacklevel=3
        )
        return 0.0
    return seconds


def _content(seconds):
    """A process's file, with a hash of the number: a digit may have become another one."""
    digest = hashlib.sha256(repr(seconds).encode()).hexdigest()
    return json.dumps({"seconds": seconds, "sha256": digest}).encode()
