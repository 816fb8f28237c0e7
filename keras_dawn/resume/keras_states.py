"""States of Keras's own callbacks, which have none to give: what each has found out so far."""

import glob
import os
import re

from keras_dawn.foundation import keras_callbacks
from keras_dawn.foundation.files import sync

import keras

_KINDS = keras.callbacks


class KerasState:
    """`state_dict` and `load_state_dict` for a callback of Keras's.

    Args:
        callback: `keras.callbacks.Callback` of a class in `keras_callbacks.KEPT`, or of a class
            made from one.
    """

    def __init__(self, callback):
        self.callback = callback
        self._names = next(
            names for kind, names in keras_callbacks.KEPT.items() if isinstance(callback, kind)
        )
        self._synced = set()

    def state_dict(self):
        """What it has found out; the files that it has saved are on the disk then."""
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            self._sync_files()
        state = {name: getattr(self.callback, name) for name in self._names}
        if isinstance(self.callback, _KINDS.CSVLogger):
            state["text"] = keras_callbacks.text_of(self.callback)
        return state

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        for name in self._names:
            setattr(self.callback, name, state[name])
        if isinstance(self.callback, _KINDS.CSVLogger):
            keras_callbacks.put_text(self.callback, state["text"])

    def _sync_files(self):
        # After a loss of power, a checkpoint that knows of a best model is worth that model's file.
        pattern = re.sub(r"\{[^{}]*\}", "*", glob.escape(os.fspath(self.callback.filepath)))
        for path in filter(os.path.isfile, glob.glob(pattern)):
            found = os.stat(path)
            mark = path, found.st_mtime_ns, found.st_size, found.st_ino
            if mark not in self._synced:
                sync(path)
                self._synced.add(mark)


def has_state(callback):
    """Whether a callback is one of Keras's that find something out."""
    return isinstance(callback, tuple(keras_callbacks.KEPT))
