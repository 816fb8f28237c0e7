"""What stands in a model's `train_function`, `test_function` and `predict_function`."""

from keras_dawn.native.lowering.values import LoweringError


class OwnStep:
    """Keras's function around a step of the model's own; what is inside it computes natively."""

    def __init__(self, function, *native):
        self._function = function
        self._layers, self._optimizers, self._means = native

    def __call__(self, batches):
        with self._layers.in_place(), self._optimizers.in_place(), self._means.in_place():
            return self._function(batches)


class NativeFunction:
    """A native step as Keras calls it: always that of the engine's present steps.

    Args:
        engine: `Engine`.
        attribute: str, such as `"train_function"`.
    """

    def __init__(self, engine, attribute):
        self._engine, self._attribute = engine, attribute
        self._name = attribute.replace("function", "step")
        self._steps = engine.steps

    def __call__(self, batches):
        engine = self._engine
        if engine.steps is not self._steps or engine.steps is None:
            self._steps = engine.prepare(self._attribute)
        if self._steps is None:
            return engine.plain_function(self._attribute)(batches)
        try:
            return getattr(self._steps, self._name)(batches)
        except LoweringError as error:  # shown by a batch; from now on the steps can do both
            self._steps = engine.fall_back(str(error), self._attribute)
            return getattr(self._steps, self._name)(batches)
