"""Runs a `TrainingPlan`: one ordinary `fit` a phase, one history."""

from keras_dawn.callbacks.weight_copies import WeightCopies
from keras_dawn.resume.resume_training import ResumeTraining
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras


def fit_plan(model, plan, train_data, *, validation_data=None, callbacks=(), verbose="auto"):
    """Trains a compiled model by a plan, phase after phase.

    Every phase is a `fit` of its own with fresh data of its image and batch size; epochs,
    history and optimizer go on through all of them. The plan sets learning rate, momentum and
    weight decay. With a `ResumeTraining` among the callbacks, a run that was cut off goes on
    at the step of its last checkpoint.

    Args:
        model: compiled `keras.Model` that takes images of any size.
        plan: `TrainingPlan`.
        train_data: callable from a `Phase` to data for `fit`, such as `ResizingImages`.
        validation_data: callable from a `Phase` to data for `evaluate`, or `None`. Not called
            again while size, shape and source stay the same.
        callbacks: list of Keras callbacks; they see a `fit` begin and end for every phase, and
            a `val_size` in the logs.
        verbose: as in `fit`.

    Returns:
        `keras.callbacks.History` over all epochs, those before a resumption included.

    Raises:
        ValueError: callbacks that set the learning rate too.

    Example:
        >>> history = fit_plan(                                         # doctest: +SKIP
        ...     model, PLANS["fastai_8gpu"].scaled(1 / 8), make_training_data)
    """
    callbacks = list(callbacks)
    for callback in callbacks:
        if isinstance(callback, (ParameterSchedule, keras.callbacks.LearningRateScheduler)):
            raise ValueError(
                f"The plan sets the learning rate; leave {type(callback).__name__} out."
            )
    rows = _Rows()
    start = 0
    for callback in callbacks:
        if isinstance(callback, ResumeTraining):
            callback.track("fit_plan", rows)
            start = callback.next_epoch()
    validation, validation_kind = None, None
    for first, phase in plan.starts():
        last = first + phase.epochs
        if last <= start:
            continue
        kind = (phase.evaluated_at, phase.validation.rectangular, phase.crops.copies)
        if validation_data is not None and kind != validation_kind:
            validation, validation_kind = validation_data(phase), kind
        for callback in callbacks:
            if isinstance(callback, WeightCopies):
                callback.goes_on = last < plan.epochs
        schedule = ParameterSchedule(phase.curves(), epochs=range(first, last))
        model.fit(
            train_data(phase),
            validation_data=validation,
            initial_epoch=first,
            epochs=last,
            callbacks=[schedule, _ValidationSize(phase), rows, *callbacks],
            verbose=verbose,
            shuffle=False,  # the data shuffles itself
        )
        if model.stop_training:
            break
    return rows.history(model)


class _ValidationSize(keras.callbacks.Callback):
    """Puts the validation size beside the accuracy, and the training size too."""

    def __init__(self, phase):
        super().__init__()
        self._phase = phase

    def on_epoch_end(self, epoch, logs=None):
        logs["image_size"] = float(self._phase.image_size)
        if any(name.startswith("val_") for name in logs):
            logs["val_size"] = float(self._phase.evaluated_at)


class _Rows(keras.callbacks.Callback):
    """Keeps the logs of all epochs, through all phases and over an interruption."""

    def __init__(self):
        super().__init__()
        self._rows = {}

    def on_epoch_end(self, epoch, logs=None):
        self._rows[epoch] = dict(logs)

    def history(self, model):
        """The rows as a Keras `History`."""
        history = keras.callbacks.History()
        history.set_model(model)
        history.on_train_begin()
        for epoch, logs in sorted(self._rows.items()):
            history.on_epoch_end(epoch, logs)
        return history

    def state_dict(self):
        return {"rows": self._rows}

    def load_state_dict(self, state):
        self._rows = dict(state["rows"])
