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
        self._first_best = getattr(callback, "best", None)
        self.began_anew = None  # what is to be said of a best model whose file is not there

    def state_dict(self):
        """What it has found out; the files that it has saved are on the disk then."""
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            self._sync_files()
        state = {name: getattr(self.callback, name) for name in self._names}
        if isinstance(self.callback, _KINDS.CSVLogger):
            state["text"] = keras_callbacks.text_of(self.callback)
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            state["file_of_best"] = os.fspath(self.callback.filepath)
        return state

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        for name in self._names:
            setattr(self.callback, name, state[name])
        if isinstance(self.callback, _KINDS.CSVLogger):
            keras_callbacks.put_text(self.callback, state["text"])
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            self._forget_best_elsewhere(state.get("file_of_best"))

    def _forget_best_elsewhere(self, before):
        """The best so far counts where its file is: a new place gets a file when it has none."""
        own, path = self.callback, os.fspath(self.callback.filepath)
        if not own.save_best_only or before in (None, path) or own.best is None or self._files():
            return
        self.began_anew = (
            f"ModelCheckpoint writes to {path} now, where no file is: its best begins anew there, "
            f"without {own.monitor} {float(own.best):.6g} in {before}"
        )
        own.best = self._first_best

    def _files(self):
        """Those that a `ModelCheckpoint` has written."""
        pattern = re.sub(r"\{[^{}]*\}", "*", glob.escape(os.fspath(self.callback.filepath)))
        return list(filter(os.path.isfile, glob.glob(pattern)))

    def _sync_files(self):
        # After a loss of power, a checkpoint that knows of a best model is worth that model's file.
        for path in self._files():
            found = os.stat(path)
            mark = path, found.st_mtime_ns, found.st_size, found.st_ino
            if mark not in self._synced:
                sync(path)
                self._synced.add(mark)


def has_state(callback):
    """Whether a callback is one of Keras's that find something out."""
    return isinstance(callback, tuple(keras_callbacks.KEPT))
