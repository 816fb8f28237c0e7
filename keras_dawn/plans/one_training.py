"""A training of several `fit`s, one after the other, as one to the callbacks."""

import contextlib

from keras_dawn.foundation import keras_fit

import keras


class OneTraining:
    """Lets callbacks begin with the first `fit` of a training and end with the last.

    `CSVLogger` would begin its file anew with each, and `EarlyStopping` forget what it waits for.
    This package's callbacks know by themselves that a training goes on; those that average the
    weights are told not to put the average in their place before the end.

    Args:
        callbacks: list of the user's callbacks.
        epochs: int, those of the whole training.
    """

    def __init__(self, callbacks, epochs):
        # Keras's `History` is asked for the epochs of each `fit`.
        self._callbacks = [
            callback
            for callback in callbacks
            if not isinstance(callback, keras.callbacks.History) and not _is_ours(callback)
        ]
        self._averages = {
            callback: callback.goes_on for callback in callbacks if hasattr(callback, "goes_on")
        }
        self._epochs = epochs

    @contextlib.contextmanager
    def part(self, *, first, last):
        """A context for one `fit`: `first` and `last` say which of the training it is.

        It gives the callback that goes before all others.
        """
        silent = ([] if first else ["on_train_begin"]) + ([] if last else ["on_train_end"])
        # On the objects, for as long as the `fit` lasts: other callbacks look at them by class.
        before = [(callback, dict(vars(callback))) for callback in self._callbacks]
        for callback in self._callbacks:
            vars(callback).update(dict.fromkeys(silent, _nothing))
        for callback in self._averages if not last else ():
            callback.goes_on = True
        try:
            yield _Part(self._epochs, self._end_averages)
        finally:
            self._end_averages()
            for callback, own in before:
                for name in silent:
                    vars(callback).pop(name, None)
                    if name in own:  # such as what a `LambdaCallback` was given
                        vars(callback)[name] = own[name]

    def end(self):
        """Ends a training that was stopped before its last `fit`."""
        for callback in self._callbacks:
            callback.on_train_end(None)

    def _end_averages(self):
        for callback, goes_on in self._averages.items():
            callback.goes_on = goes_on


class _Part(keras.callbacks.Callback):
    """Tells the callbacks of a `fit` how long the training is that it is a part of.

    What they do at a fraction of it, and Keras's line above an epoch, go by that.

    Args:
        epochs: int, those of the whole training.
        end: callable, for a `fit` in which the training has been stopped.
    """

    def __init__(self, epochs, end):
        super().__init__()
        self._epochs, self._end = epochs, end

    def on_train_begin(self, logs=None):
        # Each by itself: their list goes on to say which epoch this `fit` ends with, which
        # `ResumeTraining` has to know.
        for callback in keras_fit.callbacks_of_fit(self):
            callback.set_params({**self.params, "epochs": self._epochs})

    def on_train_end(self, logs=None):
        if self.model.stop_training:
            self._end()


def _is_ours(callback):
    """Whether it is one of this package's, or of a class of the user's that is made of one."""
    return any(kind.__module__.startswith("keras_dawn.") for kind in type(callback).__mro__)


def _nothing(logs=None):
    pass
