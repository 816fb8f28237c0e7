"""Runs a `TrainingPlan` as one `fit`."""

from keras_dawn.data.labels import check_same_classes
from keras_dawn.dawnbench.time_to_accuracy import TimeToAccuracy, clocks_paused
from keras_dawn.foundation import keras_fit
from keras_dawn.plans.phase import Phase
from keras_dawn.plans.plan import TrainingPlan
from keras_dawn.plans.plan_data import PlanData
from keras_dawn.plans.planned_sizes import size_of
from keras_dawn.plans.published import PLANS
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras
import numpy as np
import torch


def fit_plan(model, plan, train_data, *, validation_data=None, callbacks=(), verbose="auto"):
    """Trains a compiled model by a plan, phase after phase, in one `fit`.

    Every phase has fresh data of its image and batch size. To callbacks the plan is one
    training: it begins and ends once, its epochs are counted through, and only `params["steps"]`
    changes with the phase. The plan sets learning rate, momentum and weight decay. With a
    `ResumeTraining` among the callbacks, a run that was cut off goes on at the step of its last
    checkpoint, and one that is complete is not trained again.

    Args:
        model: compiled `keras.Model` that takes images of any size.
        plan: `TrainingPlan`, list of `Phase`, or the name of a plan in `PLANS`.
        train_data: callable from a `Phase` to data for `fit`: a torch `DataLoader` such as
            `ResizingImages`, a `PyDataset`, or arrays `(x, y)`, which are shuffled. Arrays may be
            given as they are where all phases have their image size. It is called when a phase
            begins; after a restart for the first phase, whose length and batch size tell whether
            the data has changed, and for the one that the training goes on in.
        validation_data: callable from a `Phase` to data for `evaluate`, or data for all phases,
            or `None`. Not called again while size, shape and source stay the same.
        callbacks: list of Keras callbacks, or `None`; they see `image_size` in the logs, and
            `val_size`: that of the phase, or of data for all phases its own where it is known.
        verbose: as in `fit`.

    Returns:
        `keras.callbacks.History` over all epochs, those before a resumption included.

    Raises:
        ValueError: callbacks that set the learning rate too, or data that does not fit the plan:
            images of another size than its phase's, or other batches.

    Example:
        >>> history = fit_plan(                                         # doctest: +SKIP
        ...     model, PLANS["fastai_8gpu"].scaled(1 / 8), make_training_data)
    """
    plan = _plan(plan)
    callbacks = callbacks or []
    callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    rivals = (
        ParameterSchedule,
        keras.callbacks.LearningRateScheduler,
        keras.callbacks.ReduceLROnPlateau,
    )
    for callback in callbacks:
        if isinstance(callback, rivals):
            raise ValueError(
                f"The plan sets the learning rate; leave {type(callback).__name__} out."
            )
    timers = [callback for callback in callbacks if isinstance(callback, TimeToAccuracy)]
    training = PlanData(plan, _counted(_maker(train_data, plan), timers), id, training=True)
    validation = validation_data
    if callable(validation_data):
        # `id` above: each phase trains on data of its own. Validation data stays while the phases
        # look the same to it, so that its decoded photos are not thrown away.
        validation = PlanData(plan, validation_data, _kind_of_validation, training=False)
    check_same_classes(training, validation)
    schedules = [
        ParameterSchedule(phase.curves(), epochs=range(first, first + phase.epochs))
        for first, phase in plan.starts()
        if phase.curves()
    ]
    return model.fit(
        training,
        validation_data=validation,
        epochs=plan.epochs,
        # The data changes before schedules and callbacks look at the steps of the epoch.
        callbacks=[_Phases(plan, training, validation, timers), *schedules, *callbacks],
        verbose=verbose,
        shuffle=False,  # the data shuffles itself
    )


def _plan(plan):
    if isinstance(plan, str):
        if plan not in PLANS:
            raise ValueError(f"There is no plan {plan!r}; PLANS has {', '.join(PLANS)}.")
        return PLANS[plan]
    if isinstance(plan, Phase) or (
        isinstance(plan, (list, tuple)) and all(isinstance(phase, Phase) for phase in plan)
    ):
        return TrainingPlan([plan] if isinstance(plan, Phase) else plan)
    if not isinstance(plan, TrainingPlan):
        raise ValueError(
            "`plan` must be a TrainingPlan, a list of Phase or the name of a plan in PLANS, got "
            f"{plan!r}."
        )
    return plan


def _maker(train_data, plan):
    """A callable from a phase to its data."""
    wanted = (
        "`train_data` must be a callable from a Phase to data of its image_size and batch_size, "
        "such as lambda phase: DeviceImages(images[phase.image_size], labels, phase.batch_size)"
    )
    arrays = isinstance(train_data, (tuple, list)) and len(train_data) == 2
    if arrays and all(isinstance(part, (np.ndarray, torch.Tensor)) for part in train_data):
        size = tuple(train_data[0].shape[1:3])
        others = sorted({phase.image_size for phase in plan.phases} - {size[0]})
        if others or len(size) != 2 or size[0] != size[1]:
            raise ValueError(
                f"{wanted}. It is arrays of {' × '.join(map(str, size))} px, and the plan has "
                f"phases of {', '.join(str(phase.image_size) for phase in plan.phases)} px."
            )
        return lambda phase: tuple(train_data)
    if not callable(train_data):
        raise ValueError(f"{wanted}; got a {type(train_data).__name__}.")
    return train_data


def _counted(make, timers):
    """`make`, with the clocks of `TimeToAccuracy` running: by DAWNBench's rules loading counts."""

    def counted(phase):
        for timer in timers:
            if timer.clock is not None:  # it stands still from an epoch's end on
                timer.clock.resume()
        return make(phase)

    return counted


def _kind_of_validation(phase):
    return phase.evaluated_at, phase.validation.rectangular, phase.crops.copies


class _Phases(keras.callbacks.Callback):
    """Takes `fit` to the data of the phase that begins, and puts its sizes into the logs."""

    def __init__(self, plan, training, validation, timers):
        super().__init__()
        self._plan, self._training, self._validation = plan, training, validation
        self._timers = timers

    def on_train_begin(self, logs=None):
        self._callbacks = keras_fit.callback_list(self)
        self._iterator = keras_fit.epoch_iterator(self.model)
        self._known = self._plan.phases[0]

    def on_epoch_begin(self, epoch, logs=None):
        self._training.set_epoch(epoch)
        with clocks_paused(self._timers):  # to load what is validated on does not count
            self._look_at_validation(epoch)
        # Keras keeps the length and the evaluator of the first epoch for a whole `fit`.
        if self._training.phase is not self._known:
            self._known = self._training.phase
            keras_fit.change_length(self._iterator, self._callbacks, self._training)

    def _look_at_validation(self, epoch):
        if isinstance(self._validation, PlanData):
            # Keras would go on validating with the evaluator that it made in the first epoch.
            before = self._validation.data
            self._validation.set_epoch(epoch)
            if self._validation.data is not before:
                keras_fit.forget_validation_data(self.model)

    def on_epoch_end(self, epoch, logs=None):
        logs["image_size"] = float(self._known.image_size)
        if any(name.startswith("val_") for name in logs):
            planned = isinstance(self._validation, PlanData)
            size = self._known.evaluated_at if planned else size_of(self._validation)
            if size is not None:
                logs["val_size"] = float(size)
