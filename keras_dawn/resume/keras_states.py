"""States of Keras's own callbacks, which have none to give: what each has found out so far."""

import glob
import os
import re

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_callbacks
from keras_dawn.foundation.files import sync
from keras_dawn.resume.names import name_in_logs

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
        self.to_say = None  # when a restart goes on: of a best model without its file, of rows

    def state_dict(self):
        """What it has found out; the files that it has saved are on the disk then."""
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            self._sync_files()
        state = {name: getattr(self.callback, name) for name in self._names}
        if isinstance(self.callback, _KINDS.CSVLogger):
            state["text"] = keras_callbacks.text_of(self.callback)
            epochs = getattr(getattr(self.callback.model, "history", None), "epoch", None)
            state["next_epoch"] = epochs[-1] + 1 if epochs else None
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            state["file_of_best"] = os.fspath(self.callback.filepath)
        return state

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        for name in self._names:
            setattr(self.callback, name, state[name])
        if isinstance(self.callback, _KINDS.CSVLogger):
            self._put_rows(state["text"], state.get("next_epoch"))
        if isinstance(self.callback, _KINDS.ModelCheckpoint):
            self._forget_best_elsewhere(state.get("file_of_best"))

    def rename_logs(self, names):
        """Lets a `CSVLogger` find its columns under the names that `other_logs` returned."""
        own = self.callback
        if isinstance(own, _KINDS.CSVLogger) and own.keys is not None:
            own.keys = [name_in_logs(name, names) for name in own.keys]
            if own.writer is not None:
                own.writer.fieldnames = ["epoch", *own.keys]

    def _put_rows(self, text, epoch):
        if not keras_callbacks.put_text(self.callback, text, epoch):
            self.to_say = (
                f"{self.callback.filename} holds rows that this training has not written: nothing "
                "in it is changed, so that an epoch that is trained again may have two"
            )

    def _forget_best_elsewhere(self, before):
        """The best so far counts where its file is: a place gets a file when it has none.

        It has none where it is another one now, or where nobody took the file to another machine.
        """
        own, path = self.callback, os.fspath(self.callback.filepath)
        known = own.best in (None, self._first_best) or "://" in path or self._files()
        if not own.save_best_only or known:
            return
        lost = "" if before in (None, path) else f" in {before}"
        self.to_say = (
            f"ModelCheckpoint writes to {path} now, where no file is: its best begins anew there, "
            f"without {own.monitor} {float(own.best):.6g}{lost}"
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


def append(callbacks):
    """Whether a logger appends to its file from the first epoch on, before that is saved.

    Killed in between, the next process would find rows of epochs that it trains again.
    """
    some = any(isinstance(one, _KINDS.CSVLogger) and one.append for one in callbacks)
    return any(gather(some)) if current().several else some
