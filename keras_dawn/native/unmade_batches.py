"""Data whose batches the graph of a training step makes itself."""

from keras_dawn.foundation import keras_fit
from keras_dawn.native.steps.functions import NativeFunction

import keras


class LeaveBatchesUnmade(keras.callbacks.Callback):
    """Lets a step that is one CUDA graph make its batches, too, where their data offers that.

    Such data has `unmade`, which gives `keras_dawn.data.unmade.Unmade`. For anything but the
    training of this `fit` (validation, callbacks that go through the data) nothing changes.

    Args:
        engine: `Engine`.
        data: what `fit` was given as `x`.
    """

    def __init__(self, engine, data):
        super().__init__()
        self._engine, self._data = engine, data

    def on_train_begin(self, logs=None):
        iterator = keras_fit.epoch_iterator(self.model)
        if iterator is not None and keras_fit.data_of(iterator)[1] is self._data:
            keras_fit.go_through_instead(iterator, _Batches(self._engine, self._data))


class _Batches:
    """Batches as they come of the data, unmade while the steps are graphs."""

    def __init__(self, engine, data):
        self._engine, self._data = engine, data

    def __iter__(self):
        return iter(self._data.unmade(self._are_graphs))

    def _are_graphs(self):
        engine = self._engine
        native = isinstance(getattr(engine.model, "train_function", None), NativeFunction)
        return native and engine.steps is not None and engine.steps.graphs.whole is not None
