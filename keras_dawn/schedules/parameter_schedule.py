"""Schedules any hyper-parameter of the optimizer, batch by batch."""

import inspect
import math

from keras_dawn.foundation import hyperparameters, keras_callbacks, keras_fit
from keras_dawn.schedules import under_way

import keras

_SETTERS_OF_THE_RATE = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)


class ParameterSchedule(keras.callbacks.Callback):
    """Sets hyper-parameters before every batch from curves of training progress.

    Progress is `(epoch + batch / steps) / epochs`, with epochs and steps as `fit` knows
    them, so `initial_epoch` enters the curve where an unbroken run would be. With `epochs`
    it goes from 0 to 1 over those epochs alone: a training of several parts, in one `fit` or
    in several, gives each part a schedule. Outside its epochs a schedule leaves the
    hyper-parameters alone. The values of the last batch go into the epoch's logs. When
    training ends, the hyper-parameters are set back to what they were when it began.

    Args:
        curves: dict from the name of a hyper-parameter (`"learning_rate"`, `"momentum"`,
            `"weight_decay"`, …) to a curve: a callable from progress in [0, 1] to a
            float (see `keras_dawn.schedules`). `"momentum"` is `beta_1` in Adam-likes.
        epochs: `range` of the epochs (0-based) that it covers, such as `range(18, 41)` from
            `initial_epoch=18` to `epochs=41` of a `fit`; by default all of the training.

    Raises:
        ValueError: at construction for what is not a curve; when training begins for a
            hyper-parameter that the optimizer does not have or cannot change, and for
            a training of unknown length; at a step for which a curve has no finite number, or a
            learning rate or weight decay below 0.

    Example:
        >>> from keras_dawn.schedules import cosine, linear
        >>> schedule = ParameterSchedule(
        ...     {"learning_rate": cosine(0.1, 0.0), "weight_decay": linear(0.0, 5e-4)}
        ... )
        >>> schedule.values(epochs=2, steps_per_epoch=2)["learning_rate"][2]
        0.05
        >>> end = ParameterSchedule({"learning_rate": linear(0.1, 0.0)}, epochs=range(3, 5))
        >>> end.values(epochs=5, steps_per_epoch=1)["learning_rate"]
        [0.1, 0.05]
    """

    def __init__(self, curves, epochs=None):
        super().__init__()
        if epochs is not None:
            _check_epochs(epochs)
        self.epochs = epochs
        if not isinstance(curves, dict) or not curves:
            raise ValueError(
                "`curves` must be a dict from hyper-parameter names to curves, for instance "
                f"{{'learning_rate': schedules.cosine(0.1, 0.0)}}, got {curves!r}."
            )
        for name, curve in curves.items():
            if isinstance(curve, keras.optimizers.schedules.LearningRateSchedule):
                raise ValueError(
                    f"The curve of {name!r} is a Keras LearningRateSchedule, a function of the "
                    "step. Give a function of progress in [0, 1] (`keras_dawn.schedules`)."
                )
            if not callable(curve):
                raise ValueError(
                    f"The curve of {name!r} must be callable, got {curve!r}. "
                    f"For a fixed value use `schedules.constant({curve!r})`."
                )
            _check_arguments(name, curve)
        self._given_curves = dict(curves)
        self._found = self._rate_before = None
        self._latest = {}

    def set_model(self, model):
        super().set_model(model)
        # Before any callback begins: Keras's `BackupAndRestore` loads the rate of a step.
        self._rate_before = under_way.rate_without_schedules(model)

    def curves(self, total_steps, optimizer=None):
        """The curves for `total_steps` steps, those of all its epochs, by hyper-parameter."""
        return self._given_curves

    def values(self, epochs, steps_per_epoch, initial_epoch=0):
        """What each hyper-parameter will be in every step that it covers, before any training.

        Args:
            epochs, initial_epoch: int, as for `fit`.
            steps_per_epoch: int.

        Returns:
            dict from name to a list of floats, `steps_per_epoch` for each epoch.
        """
        span = self.epochs or range(epochs)
        total = len(span) * steps_per_epoch
        covered = range(max(initial_epoch, span.start), min(epochs, span.stop))
        steps = [
            (epoch - span.start) * steps_per_epoch + batch
            for epoch in covered
            for batch in range(steps_per_epoch)
        ]
        return {
            name: [_value(name, curve, step / total) for step in steps]
            for name, curve in self.curves(total).items()
        }

    def plot(self, epochs, steps_per_epoch=100, path=None):
        """Draws what the hyper-parameters will do; see `keras_dawn.plots.plot_schedule`."""
        from keras_dawn import plots

        return plots.plot_schedule(self.values(epochs, steps_per_epoch), epochs, path=path)

    def on_train_begin(self, logs=None):
        optimizer = self._optimizer()
        callbacks = keras_fit.callbacks_of_fit(self)
        for left in under_way.schedules_of(optimizer):  # an interrupted `fit` did not reach its end
            # The parts of one training are under way together: those of this `fit` stay.
            if left not in callbacks or left is self:
                left.set_back()
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if not epochs:
            raise ValueError(f"{self._title()} needs a training of at least one epoch.")
        if not steps:
            raise ValueError(
                f"{self._title()} needs to know how many steps an epoch has, and this data does "
                "not tell: pass `steps_per_epoch=` to `fit`."
            )
        self._span = self.epochs or range(epochs)
        self._active = []
        found, total = {}, len(self._span) * steps
        if keras_callbacks.is_restored(self) and "learning_rate" in self.curves(total):
            hyperparameters.write(optimizer, "learning_rate", self._rate_before)
        for name, curve in self.curves(total, optimizer).items():
            attribute = hyperparameters.resolve(optimizer, name)
            if attribute in found:
                raise ValueError(
                    f"{self._title()} has two curves for {attribute}, which {name!r} names too for "
                    f"{type(optimizer).__name__}. Leave one of them out."
                )
            found[attribute] = hyperparameters.read(optimizer, name)
            self._active.append((name, attribute, curve))
        self._check_rivals(found.keys(), callbacks)
        self._found = (optimizer, found)
        under_way.begin(self, optimizer, found)
        self._latest = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch not in self._span:
            return
        optimizer, _ = self._found
        steps = self.params["steps"]  # of this epoch: a plan's phases differ
        step = (self._epoch - self._span.start) * steps + batch
        progress = min(1.0, step / (len(self._span) * steps))
        for name, attribute, curve in self._active:
            value = _value(name, curve, progress)
            hyperparameters.write(optimizer, attribute, value)
            self._latest[name] = value

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and epoch in self._span:
            logs.update(self._latest)

    def on_train_end(self, logs=None):
        self.set_back()

    def state_dict(self):
        """What `ResumeTraining` saves: the values of the last batch, for the epoch's logs."""
        return {"latest": dict(self._latest)}

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        self._latest = dict(state["latest"])

    def set_back(self):
        """Gives the hyper-parameters the values that they had when the training began."""
        if self._found is not None:
            optimizer, found = self._found
            for attribute, value in found.items():
                hyperparameters.write(optimizer, attribute, value)
            self._found = None
            under_way.end(self, optimizer)

    def _check_rivals(self, attributes, callbacks):
        """Raises `ValueError` where another callback sets what this one sets."""
        for other in callbacks:
            begun = isinstance(other, ParameterSchedule) and other is not self and other._found
            both = sorted(attributes & begun[1].keys()) if begun else ()
            if both and set(self._span) & set(other._span):
                raise ValueError(
                    f"{other._title()} and {self._title()} would both set {both[0]}, the one "
                    "undoing what the other does. Leave it out of one of them, or give them "
                    "`epochs` that do not overlap."
                )
        for callback in callbacks:
            if "learning_rate" in attributes and isinstance(callback, _SETTERS_OF_THE_RATE):
                raise ValueError(
                    f"{self._title()} and {type(callback).__name__} would both set the learning "
                    "rate, the one undoing what the other does. Leave one of them out."
                )

    def _optimizer(self):
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            raise ValueError(f"{self._title()} needs a compiled model with an optimizer.")
        return hyperparameters.unwrap(optimizer)

    def _title(self):
        return type(self).__name__


_FROM_ZERO_UP = ("learning_rate", "weight_decay")
_ROUNDING = 1e-12  # of a curve that ends at 0


def _value(name, curve, progress):
    value = curve(progress)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):  # which would end in weights that are not
        raise ValueError(
            f"The curve of {name!r} must give a finite number, got {value!r} at {progress:.3g} of "
            "the training."
        )
    if name in _FROM_ZERO_UP and number < -_ROUNDING:
        raise ValueError(
            f"The curve of {name!r} must give a number from 0 up, got {value!r} at {progress:.3g} "
            "of the training: below 0 a step leads away from what is learnt."
        )
    number = max(number, 0.0) if name in _FROM_ZERO_UP else number
    return number


def _check_arguments(name, curve):
    """Raises `ValueError` for what cannot be called with one number."""
    try:
        signature = inspect.signature(curve)
    except (TypeError, ValueError):  # some that are built in do not say
        return
    try:
        signature.bind(0.0)
    except TypeError:
        raise ValueError(
            f"The curve of {name!r} must take one argument, the training's progress in [0, 1], and "
            f"{getattr(curve, '__name__', type(curve).__name__)} takes {signature}. A function of "
            "the epoch and the rate before it is for `keras.callbacks.LearningRateScheduler`."
        ) from None


def _check_epochs(epochs):
    if not isinstance(epochs, range) or epochs.step != 1 or epochs.start < 0 or not len(epochs):
        raise ValueError(
            "`epochs` must be a range of epochs that count from 0, such as range(18, 41), got "
            f"{epochs!r}."
        )
