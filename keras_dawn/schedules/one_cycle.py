"""The one-cycle policy as a Keras callback and as a Keras learning-rate schedule."""

import warnings

from keras_dawn.foundation import hyperparameters, keras_callbacks
from keras_dawn.schedules.one_cycle_shapes import OneCycleShape, check_max_lr
from keras_dawn.schedules.parameter_schedule import ParameterSchedule
from keras_dawn.schedules.under_way import was_scheduled

import keras
from keras import ops


class OneCycle(ParameterSchedule):
    """One cycle of the learning rate up and down, momentum the other way round.

    Smith & Topin 2017, "Super-Convergence" (https://arxiv.org/abs/1708.07120). Length,
    steps and, without `max_lr`, the highest rate come from Keras: `OneCycle()` is
    enough. For Adam-likes momentum is `beta_1`. A model that was saved within its cycle
    has the rate of that step: with `initial_epoch`, give `max_lr` (else a warning says so).

    Args:
        max_lr: float above 0, the highest rate; the compiled learning rate by default.
        shape: `"cosine"` (torch's and fastai's two parts), `"three_phase"` (torch's), or
            `"dawnbench"` (fast.ai's 2018 entries: straight lines with a tail).
        pct_start, tail_fraction, div_factor, final_div_factor: where the corners lie; see
            `keras_dawn.OneCycleShape`.
        momentum: `(high, low)`, or `None` to leave momentum alone. By default
            `(0.95, 0.85)` for an optimizer with momentum; one compiled with `momentum=0`
            then keeps 0 and a warning says so.
        epochs: `range` of the epochs that it covers; see `ParameterSchedule`.

    Raises:
        ValueError: see `ParameterSchedule` and `OneCycleShape`.

    Example:
        >>> model.fit(x, y, epochs=3, callbacks=[OneCycle()])             # doctest: +SKIP
        >>> entry = OneCycle(1.5, "dawnbench", tail_fraction=0.2, div_factor=20)
        >>> entry.values(epochs=30, steps_per_epoch=98)["learning_rate"][588]
        0.7875
    """

    def __init__(
        self,
        max_lr=None,
        shape="cosine",
        *,
        pct_start=None,
        tail_fraction=None,
        div_factor=25.0,
        final_div_factor=None,
        momentum="auto",
        epochs=None,
    ):
        if max_lr is not None:
            check_max_lr(max_lr)
        self.max_lr = max_lr
        # Who asks for a momentum that the optimizer cannot have gets an error, not a warning.
        self._momentum_asked = momentum not in ("auto", None)
        self.cycle = OneCycleShape(
            shape,
            pct_start=pct_start,
            tail_fraction=tail_fraction,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            momentum=(0.95, 0.85) if momentum == "auto" else momentum,
        )
        super().__init__({"learning_rate": self.cycle.learning_rate(max_lr or 1.0)}, epochs)
        self._may_be_of_a_step = False  # the rate that is taken for the highest one
        self._trained_here = False

    def set_model(self, model):
        super().set_model(model)
        # As the `fit` begins: then by another `fit`, at a rate that no file has put there since.
        self._trained_here = getattr(model, "train_function", None) is not None

    def on_train_begin(self, logs=None):
        optimizer = self._optimizer()
        known = (
            self.max_lr is not None
            or self._trained_here
            or was_scheduled(optimizer)  # and set back
            or keras_callbacks.is_restored(self)  # likewise
        )
        super().on_train_begin(logs)
        self._may_be_of_a_step = not known and int(optimizer.iterations) > 0

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self._may_be_of_a_step and epoch > self._span.start:
            rate = self._found[1]["learning_rate"]
            warnings.warn(
                f"OneCycle goes on within its cycle, whose highest rate is {rate:.3g}, which the "
                "optimizer has now. If the model was saved in the midst of a cycle, that is the "
                "rate of a step: give `max_lr`.",
                stacklevel=2,
            )
        self._may_be_of_a_step = False

    def curves(self, total_steps, optimizer=None):
        """The cycle's curves; without `max_lr` and an optimizer, as factors of the rate."""
        max_lr = self.max_lr
        if max_lr is None:
            max_lr = hyperparameters.read(optimizer, "learning_rate") if optimizer else 1.0
        curves = {"learning_rate": self.cycle.learning_rate(max_lr, total_steps)}
        momentum = self.cycle.momentum_curve(total_steps)
        if momentum is None:
            return curves
        if optimizer is None or self._momentum_asked or hyperparameters.has_momentum(optimizer):
            curves["momentum"] = momentum
        else:
            compiled = "was compiled without momentum (momentum=0.9 would let it cycle)"
            why = compiled if hasattr(optimizer, "momentum") else "has no momentum"
            warnings.warn(
                f"OneCycle schedules the learning rate only: {type(optimizer).__name__} {why}.",
                stacklevel=2,
            )
        return curves


@keras.saving.register_keras_serializable(package="keras_dawn")
class OneCycleSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The one-cycle rate as a function of the optimizer's step, saved in `.keras` files.

    It moves the rate only; for momentum and for lengths taken from `fit`, use the
    callback `OneCycle`, whose rate it equals step by step.

    Args:
        max_lr: float above 0, the highest rate.
        total_steps: int, number of batches (Keras counts each of those whose gradients it
            accumulates, too); later ones keep the last rate.
        shape, **corners: see `keras_dawn.OneCycleShape`; momentum does not apply.

    Example:
        >>> schedule = OneCycleSchedule(0.1, total_steps=1000)
        >>> round(float(schedule(0)), 6)
        0.004
    """

    def __init__(self, max_lr, total_steps, shape="cosine", **corners):
        super().__init__()
        if "momentum" in corners:
            raise ValueError("OneCycleSchedule moves the rate only: use the callback OneCycle.")
        if isinstance(total_steps, bool) or not hasattr(type(total_steps), "__index__"):
            raise ValueError(
                "`total_steps` must be a whole number, the batches of all epochs, got "
                f"{total_steps!r}."
            )
        if total_steps < 1:
            raise ValueError(f"`total_steps` must be 1 or more, got {total_steps}.")
        self.max_lr = max_lr
        self.total_steps = total_steps
        self.shape = shape
        self.corners = corners
        curve = OneCycleShape(shape, **corners).learning_rate(max_lr, total_steps)
        # One row of floats on the device: a step looks its rate up and never waits for the host.
        self._rates = [curve(step / total_steps) for step in range(total_steps)]
        self._table = None

    def __call__(self, step):
        if self._table is None:
            self._table = ops.convert_to_tensor(self._rates, dtype=keras.config.floatx())
        index = ops.clip(ops.cast(step, "int32"), 0, self.total_steps - 1)
        return ops.take(self._table, index)

    def get_config(self):
        return {
            "max_lr": self.max_lr,
            "total_steps": self.total_steps,
            "shape": self.shape,
            **self.corners,
        }
