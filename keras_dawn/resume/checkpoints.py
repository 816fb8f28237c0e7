"""Checkpoint files: written whole or not at all, read if whole, by one job at a time."""

import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_dawn.resume import checkpoint_file, folder_lock
from keras_dawn.resume.checkpoint_content import check_content

import filelock
import torch

_PATTERN = r"checkpoint-(?:f(\d{3,})-)?(\d{5,})-(\d{7,})\.pt"
_NAME = re.compile(_PATTERN, re.ASCII)
# Of this package alone: in a folder of other things too, such as a download of somebody else's.
_PARTIAL = re.compile(rf"\.({_PATTERN}|process-\d+\.json|\.ranks)\.partial", re.ASCII)


class CheckpointFolder:
    """The checkpoints of one training, the newest few.

    A checkpoint is written beside its place with its SHA-256, flushed to the disk and moved
    there. Reading passes over files that are damaged or planted, and names them; they are left
    where they are, and none of them counts for what is kept. Nothing whole is deleted before
    another one is whole.

    A training of several `fit`s has checkpoints of each; of those before the present one the
    last is kept.

    Args:
        path: folder.
        keep: int from 1 up, how many checkpoints to keep.
    """

    def __init__(self, path, keep):
        self.path, self.keep = Path(path), keep
        self._writer = self._writing = None
        self.written_at = 0.0  # by the clock that is never set back, when a write last ended
        self.is_behind = False  # whether the last checkpoint could not be written
        self._broken = set()  # names of files that are not whole
        self._written = []  # paths of this process's, the oldest first

    def take(self):
        """Makes the folder and takes it for this process.

        Raises:
            OSError: the folder cannot be made or written, or another process has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            folder_lock.take(self.path)
            for left in self.path.glob(".*.partial"):  # of a process that was killed
                if _PARTIAL.fullmatch(left.name):
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

    def close(self):
        """Leaves the folder to others."""
        folder_lock.leave(self.path)

    def save(self, place, state):
        """`write`, on a GPU in a thread of its own; a full disk is warned about."""
        self.finish()
        # A GPU computes while a thread writes; on a CPU the two would share the cores.
        if torch.cuda.is_available():
            self._writer = self._writer or ThreadPoolExecutor(1)
            self._writing = self._writer.submit(self.write, place, state)
            return
        try:
            self.write(place, state)
        except OSError as error:
            self._warn_of(error)

    def is_writing(self):
        """Whether a thread is at a file now."""
        return self._writing is not None and not self._writing.done()

    def finish(self):
        """Waits for the file that is being written."""
        writing, self._writing = self._writing, None
        if writing is not None and (error := writing.exception()) is not None:
            if not isinstance(error, OSError):
                raise error
            self._warn_of(error)

    def _warn_of(self, error):
        self.is_behind, last = True, self.last_name()
        kept = f"the last one is {last}" if last else "there is none yet"
        warnings.warn(
            f"No checkpoint was written to {self.path}: {error}. The training goes on; {kept}. "
            "Make room on the disk.",
            stacklevel=2,
        )

    def write(self, place, state):
        """Writes a checkpoint and removes those that are too many.

        Args:
            place: `(fit, epoch, step)`, ints: which `fit` of the training, and where in it.
            state: structure of plain values and tensors.

        Raises:
            OSError: it could not be written; older ones are untouched.
        """
        fit, epoch, step = place
        path = self.path / name_of(fit, epoch, step)
        try:
            checkpoint_file.write(path, state)
        finally:
            self.written_at = time.monotonic()
        self.is_behind = False
        # It may stand where a damaged one was.
        self._broken.discard(path.name)
        self._written = [*(each for each in self._written if each != path), path]
        for extra in self._too_many(fit):
            extra.unlink(missing_ok=True)

    def _too_many(self, fit):
        """Whole files that newer ones stand in for; those of this process are the newest."""
        found = self.whole_files()
        # Not by name alone: a run that began anew in an old folder writes lower numbers than it
        # found.
        ordered = [path for path in found if path not in self._written]
        ordered += [path for path in self._written if path in found]
        present = [path for path in ordered if _place(path)[0] >= fit]
        earlier = [path for path in ordered if _place(path)[0] < fit]
        # A dict keeps the last path of each `fit`, as the list is in order.
        lasts = {_place(path)[0]: path for path in earlier}.values()
        return [*present[: -self.keep], *(path for path in earlier if path not in lasts)]

    def newest(self, fit=None):
        """The newest whole checkpoint's state, or `None`.

        Args:
            fit: int, to look among those of this `fit` alone.
        """
        for path in reversed(self.whole_files()):
            if fit is not None and _place(path)[0] != fit:
                continue
            try:
                state = checkpoint_file.read(path)
                check_content(state, _place(path))
                return state
            except checkpoint_file.NotWholeError as error:
                self._broken.add(path.name)
                older = [each for each in self.whole_files() if _place(each) < _place(path)]
                warnings.warn(
                    f"{path} {error} and passed over; "
                    + ("an older checkpoint is used." if older else "there is no older one."),
                    stacklevel=2,
                )
        return None

    def last_name(self):
        """The name of the last checkpoint that was not found to be broken, `None` of none."""
        files = self.whole_files()
        return files[-1].name if files else None

    def whole_files(self):
        """Paths of the checkpoints that were not found to be broken, the oldest first."""
        return [path for path in self.files() if path.name not in self._broken]

    def files(self):
        """Paths of all checkpoints, the oldest first; their names say `fit`, epoch and step."""
        if not self.path.is_dir():
            return []
        # A pipe of such a name would be waited for, for ever.
        found = [p for p in self.path.iterdir() if _NAME.fullmatch(p.name) and p.is_file()]
        return sorted(found, key=_place)


def name_of(fit, epoch, step):
    """The name of the file that holds the checkpoint of a place."""
    number = f"f{fit:03}-" if fit else ""
    return f"checkpoint-{number}{epoch:05}-{step:07}.pt"


def _place(path):
    """`(fit, epoch, step)` of a checkpoint by its name."""
    return tuple(int(part or 0) for part in _NAME.fullmatch(path.name).groups())
