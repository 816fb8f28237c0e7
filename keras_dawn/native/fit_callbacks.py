"""Callbacks that an accelerated model's `fit` adds to those it is given."""

import keras


class SetEpoch(keras.callbacks.Callback):
    """Tells data which epoch begins, so that `initial_epoch` and a resumed run are right.

    Data that has been through more epochs already counts on: another `fit` from epoch 0 does
    not repeat order and augmentation of the one before.
    """

    def __init__(self, data):
        super().__init__()
        self._data = data
        self._passed = data.epoch  # before Keras looks at a first batch
        self._ahead = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._ahead is None:
            self._ahead = max(0, self._passed - epoch)
        self._data.set_epoch(epoch + self._ahead)


class LastCallback(keras.callbacks.Callback):
    """Takes up what the other callbacks changed, and keeps Keras's thread pool out.

    Keras hands the logs of every batch to a pool of threads, unless a callback looks at batches;
    that spares its own steps a wait for the device. Ours has floats ready, and the thread pool
    costs more than they do.

    Args:
        follow_changes: callable without arguments, called when an epoch begins.
    """

    def __init__(self, follow_changes):
        super().__init__()
        self._follow_changes = follow_changes

    def on_epoch_begin(self, epoch, logs=None):
        self._follow_changes()

    def on_train_batch_end(self, batch, logs=None):
        """Overridden, and that is all that Keras looks at."""

    def on_test_batch_end(self, batch, logs=None):
        """Overridden, as above."""

    def on_predict_batch_end(self, batch, logs=None):
        """Overridden, as above."""
