"""What stands in a model's `train_function`, `test_function` and `predict_function`."""

import contextlib
import warnings

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_models
from keras_dawn.foundation.keras_cross_entropy import of_probabilities_by
from keras_dawn.native.cross_entropy import of_probabilities
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.steps import joint_evaluation
from keras_dawn.native.steps.own_losses import masked_over_ranks

import keras
import torch


class OwnStep:
    """Keras's function around a step of the model's own; what is inside it computes natively.

    Args:
        engine: `Engine`, whose layers, optimizers and means compute natively meanwhile.
        function: callable, Keras's `train_function` or another.
        attribute: str, which one, such as `"train_function"`.
    """

    def __init__(self, engine, function, attribute):
        self._engine, self._function = engine, function
        self._trains = attribute == "train_function"
        # Whoever brings a loop of their own may want the logs as the step returns them.
        kind = type(engine.model)
        self._keras_s_loop = all(
            getattr(kind, name) is getattr(keras.Model, name) for name in ("fit", "evaluate")
        )

    def __call__(self, batches):
        engine = self._engine
        clearing = _clearing_in_place(engine.model)
        optimizers, means = engine.optimizers.in_place(), engine.means.in_place()
        engine.in_step = True
        try:
            with (
                engine.layers.in_place(), optimizers, means, clearing, self._losses_in_place(),
                of_probabilities_by(of_probabilities),
            ):  # fmt: skip
                logs = self._function(batches)
        finally:
            engine.in_step = False
        return _as_floats(logs) if engine.running and self._keras_s_loop else logs

    def _losses_in_place(self):
        """Masked losses are means over all ranks' items, where these share a batch."""
        model = self._engine.model
        if self._trains and current().several:
            return masked_over_ranks(model, self._engine.rank_weight)
        if joint_evaluation.is_under_way(model):
            return masked_over_ranks(model, joint_evaluation.weight_of_part())
        return _NOTHING


_NOTHING = contextlib.nullcontext()


def _as_floats(logs):
    """Logs as Keras's callbacks get them, where that waits for nothing.

    By way of NumPy, as Keras makes them floats, each takes as long as a small layer.
    """
    if type(logs) is not dict:
        return logs
    return {name: _as_float(value) for name, value in logs.items()}


def _as_float(value):
    plain = type(value) is torch.Tensor and not value.ndim and value.device.type == "cpu"
    return value.item() if plain and value.is_floating_point() else value


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


class InStep:
    """A step of plain Keras's, during which the engine knows that one is under way."""

    def __init__(self, engine, function):
        self._engine, self._function = engine, function

    def __call__(self, batches):
        self._engine.in_step = True
        try:
            return self._function(batches)
        finally:
            self._engine.in_step = False


class NativeFunction:
    """A native step as Keras calls it: always that of the engine's present steps.

    Args:
        engine: `Engine`.
        attribute: str, such as `"train_function"`.
        waits: bool, whether the model, its loss or its metrics are built on the first batch.
    """

    def __init__(self, engine, attribute, waits=False):
        self._engine, self._attribute = engine, attribute
        self._waits = waits
        self._name = attribute.replace("function", "step")
        self._steps = engine.steps

    def __call__(self, batches):
        engine = self._engine
        if keras_models.is_overridden(engine.model, self._name):  # since this was made
            engine.install(self._attribute, f"make_{self._attribute}", True)
            return getattr(engine.model, self._attribute)(batches)
        if self._waits:
            self._waits = False
            keras_models.build_on(engine.model, batches[0])
            self._steps = None
        if engine.followed:
            return self._step(batches)
        # A loop of somebody's own, or one whose callbacks the engine was not shown: changes of the
        # model, logs and gradients are as in plain Keras's at every step.
        self._steps = engine.prepare(self._attribute)
        if self._steps is None:
            return self._step(batches)
        with engine.unfollowed():
            return self._step(batches)

    def _step(self, batches):
        engine = self._engine
        if engine.steps is not self._steps or engine.steps is None:
            self._steps = engine.prepare(self._attribute)
        engine.in_step = True
        try:
            if self._steps is None:
                return engine.plain_function(self._attribute)(batches)
            return getattr(self._steps, self._name)(batches)
        except LoweringError as error:  # shown by a batch; from now on the steps can do both
            return self._otherwise(error, batches)
        finally:
            engine.in_step = False

    def _otherwise(self, error, batches):
        """The step on a batch which the present steps could not take."""
        engine, first = self._engine, error
        forward = None if engine.steps is None else engine.steps.forward
        training = self._attribute == "train_function"
        known_by_sizes = forward is not None and forward.by_sizes and forward.has_run(training)
        try:
            while engine.is_graph():
                self._steps = engine.fall_back(error, self._attribute)
                try:
                    found = getattr(self._steps, self._name)(batches)
                except LoweringError as another:
                    error = another
                    continue
                if known_by_sizes and not self._steps.forward.by_sizes:
                    warnings.warn(
                        f"{engine.model.name} goes on with layers called one by one where they ask "
                        f"a batch for its sizes ({first}): slower, with the same results.",
                        stacklevel=3,
                    )
                return found
            raise error
        except Exception:  # the batch's, which says nothing of the next one
            engine.forget_fall_back()
            raise
