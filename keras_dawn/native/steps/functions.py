"""What stands in a model's `train_function`, `test_function` and `predict_function`."""

import contextlib

from keras_dawn.foundation import keras_models
from keras_dawn.native.lowering.values import LoweringError

import torch


class OwnStep:
    """Keras's function around a step of the model's own; what is inside it computes natively."""

    def __init__(self, function, *native):
        self._function = function
        self._layers, self._optimizers, self._means = native

    def __call__(self, batches):
        clearing = _clearing_in_place(self._layers.model)
        optimizers, means = self._optimizers.in_place(), self._means.in_place()
        with self._layers.in_place(), optimizers, means, clearing:
            return self._function(batches)


@contextlib.contextmanager
def _clearing_in_place(model):
    """`model.zero_grad()` looks for no names inside this context."""

    def zero_grad(set_to_none=True):
        if set_to_none is True:
            keras_models.clear_gradients(model)
        else:
            torch.nn.Module.zero_grad(model, set_to_none)

    ours = type(model).zero_grad is torch.nn.Module.zero_grad and "zero_grad" not in vars(model)
    if ours:
        object.__setattr__(model, "zero_grad", zero_grad)
    try:
        yield
    finally:
        if ours:
            object.__delattr__(model, "zero_grad")


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
