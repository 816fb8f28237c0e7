"""What stands in a model's `train_function`, `test_function` and `predict_function`."""

from keras_dawn.native.lowering.graph import LoweringError


class OwnStep:
    """Keras's function around a step of the model's own; what is inside it computes natively."""

    def __init__(self, function, *native):
        self._function = function
        self._layers, self._optimizers = native

    def __call__(self, batches):
        with self._layers.in_place(), self._optimizers.in_place():
            return self._function(batches)


class NativeFunction:
    """A native step as Keras calls it; the first batch may still show that it cannot be."""

    def __init__(self, step, fall_back):
        self._step = step
        self._fall_back = fall_back

    def __call__(self, batches):
        try:
            return self._step(batches)
        except LoweringError as error:
            return self._fall_back(str(error))(batches)
