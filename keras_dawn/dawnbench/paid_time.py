"""How long the machines of a training were paid for, interruptions included."""

import contextlib
import hashlib
import json
import re
import time
import warnings
from pathlib import Path

from keras_dawn.foundation.files import written_whole

_NAME = re.compile(r"process-(\d{1,18})\.json", re.ASCII)
_IMPORTED = time.monotonic()  # about when the process began


class PaidTime:
    """Adds up the lives of all processes that trained from one folder of checkpoints.

    Each process keeps a file with the seconds that it has been seen alive, so that one that was
    killed counts up to shortly before. Only durations are kept, by a clock that is never set
    back. What passes before Python runs (booting, installing) is not seen.

    Args:
        folder: folder for the files.
        every_seconds: float, how often the file is refreshed.
    """

    def __init__(self, folder, every_seconds=10.0):
        self.folder, self.every_seconds = Path(folder), every_seconds
        self._path = None
        self._noted = 0.0

    def begin(self):
        """Starts the count of this process, from when it imported this package."""
        if self._path is None:
            # Only rank 0 of a job writes, so that no two processes ask for a number at once.
            numbers = [
                int(found[1]) for path in self._files() if (found := _NAME.fullmatch(path.name))
            ]
            # Not their count: where one was deleted, that would be the number of another.
            number = max(numbers, default=0) + 1
            self._path = self.folder / f"process-{number:04}.json"
            self.note()

    def note(self):
        """Writes down that this process is alive; on a full disk the last time stands."""
        self._noted = time.monotonic()
        with contextlib.suppress(OSError), written_whole(self._path) as file:
            file.write(_content(round(self._noted - _IMPORTED, 3)))

    def note_now_and_then(self):
        """`note`, if the last one is `every_seconds` ago."""
        if time.monotonic() - self._noted >= self.every_seconds:
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
