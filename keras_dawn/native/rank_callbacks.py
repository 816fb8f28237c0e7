"""Callbacks that watch over the weights of a model that several ranks train together."""

import warnings

from keras_dawn.distributed.same_everywhere import differing
from keras_dawn.native.steps.reduction import check_equal_weights

import keras


class EqualWeights(keras.callbacks.Callback):
    """Begins the averaging of gradients of one `fit`; after each epoch, compares the weights.

    Args:
        begin: callable without arguments, called when the training begins; returns the
            `GradientReduction`.
    """

    def __init__(self, begin):
        super().__init__()
        self._begin = begin
        self._reduction = None

    def on_train_begin(self, logs=None):
        self._reduction = self._begin()

    def on_train_batch_begin(self, batch, logs=None):
        self._reduction.next_step()

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params.get("steps"):
            self._reduction.meet()

    def on_epoch_end(self, epoch, logs=None):
        check_equal_weights(self.model.trainable_variables)


class DriftingWeights(keras.callbacks.Callback):
    """Warns, once a `fit`, where ranks with the same gradients do not have the same weights."""

    def __init__(self):
        super().__init__()
        self._warned = False

    def on_epoch_end(self, epoch, logs=None):
        found = [] if self._warned else differing(self.model.trainable_variables)
        if found:
            self._warned = True
            warnings.warn(
                f"{found[0].path} differs between the ranks, which have averaged its gradients. A "
                "callback may have changed rates or weights by what is each process's own: a "
                "clock, the logs of a batch, random numbers. Rank 0's weights are those that are "
                "saved.",
                stacklevel=2,
            )
