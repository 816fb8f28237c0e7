"""A training of several `fit`s, one after the other, as one to the callbacks."""

import contextlib

import keras


class OneTraining:
    """Lets callbacks begin with the first `fit` of a training and end with the last.

    `CSVLogger` would begin its file anew with each, and `EarlyStopping` forget what it waits for.
    This package's callbacks know by themselves that a training goes on.

    Args:
        callbacks: list of the user's callbacks.
    """

    def __init__(self, callbacks):
        # Keras's `History` is asked for the epochs of each `fit`.
        self._callbacks = [
            callback
            for callback in callbacks
            if not isinstance(callback, keras.callbacks.History)
            and not type(callback).__module__.startswith("keras_dawn.")
        ]

    @contextlib.contextmanager
    def part(self, *, first, last):
        """A context for one `fit`: `first` and `last` say which of the training it is."""
        silent = ([] if first else ["on_train_begin"]) + ([] if last else ["on_train_end"])
        # On the objects, for as long as the `fit` lasts: other callbacks look at them by class.
        before = [(callback, dict(vars(callback))) for callback in self._callbacks]
        for callback in self._callbacks:
            vars(callback).update(dict.fromkeys(silent, _nothing))
        try:
            yield
        finally:
            for callback, own in before:
                for name in silent:
                    vars(callback).pop(name, None)
                    if name in own:  # such as what a `LambdaCallback` was given
                        vars(callback)[name] = own[name]

    def end(self):
        """Ends a training that was stopped before its last `fit`."""
        for callback in self._callbacks:
            callback.on_train_end(None)


class Heading(keras.callbacks.Callback):
    """Keras's line above an epoch, which its `fit` of one epoch leaves out.

    Args:
        epochs: int, those of the whole training.
    """

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if self.params.get("verbose") and self._epochs > 1:
            print(f"Epoch {epoch + 1}/{self._epochs}")


def _nothing(logs=None):
    pass
