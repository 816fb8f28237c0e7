"""Which files of a source could not be read so far, and when that is said."""

import inspect
import warnings

from keras_dawn.data.photos.unreadable import Unreadable, UnreadablePhotoError, listed


class Problems:
    """What was wrong with files, by their places in a source.

    Args:
        source: with `name(index)` and a length; its `unreadable` (`Unreadable`) says what is to be
            done, its `skipped` (dict from names to sentences) what was left out from the start.

    Attributes:
        left_out: bool, whether a file that cannot be read is left out of its batch.
    """

    def __init__(self, source):
        self._source = source
        self._treatment = getattr(source, "unreadable", None) or Unreadable()
        self._found, self._named = {}, set()
        self.left_out = self._treatment.treatment == "leave_out"

    def add(self, index, problem):
        """Notes a file.

        Raises:
            UnreadablePhotoError: one more than the source allows.
        """
        self._found[index] = problem
        skipped = getattr(self._source, "skipped", {})
        count, of = len(self._found) + len(skipped), len(self._source) + len(skipped)
        if not self._treatment.allows(count, of):
            raise UnreadablePhotoError(
                f"{count} of {of} photos cannot be read: {listed(self.by_name())}. Mend or remove "
                "them, or change the source's `unreadable` or `most_unreadable`."
            )

    def by_name(self):
        """Dict from names to sentences, in the order of the source."""
        skipped = getattr(self._source, "skipped", {})
        return {
            **skipped,
            **{self._source.name(index): self._found[index] for index in sorted(self._found)},
        }

    def listed(self, indices):
        """Some of them as text."""
        found = {self._source.name(i): self._found[i] for i in indices if i in self._found}
        return listed(found)

    def warn(self):
        """Says once of each file that it was left out, or was grey."""
        found = self.by_name()
        new = {name: problem for name, problem in found.items() if name not in self._named}
        if not new:
            return
        self._named.update(new)
        done = "left out" if self.left_out else "shown as grey images"
        of = len(self._source) + len(getattr(self._source, "skipped", {}))
        warnings.warn(
            f"{len(new)} of {of} photos cannot be read and were {done}: {listed(new)}.",
            UnreadablePhotosWarning,
            stacklevel=_level_of_the_user(),
        )


def _level_of_the_user():
    """The `stacklevel` of the line with the `fit`, which is neither this package's nor Keras's."""
    frame, level = inspect.currentframe().f_back, 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _INNER:
        frame, level = frame.f_back, level + 1
    return level


_INNER = ("keras_dawn", "keras", "torch", "contextlib")


class UnreadablePhotosWarning(UserWarning):
    """Said at the end of an epoch in which files could not be read."""
