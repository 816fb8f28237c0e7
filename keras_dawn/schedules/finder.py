"""The learning-rate range test (Smith 2015, https://arxiv.org/abs/1506.01186) on any model."""

import math

from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import hyperparameters, keras_fit, keras_metrics
from keras_dawn.foundation.model_state import (
    metric_variables,
    optimizer_variables,
    overwrite,
    torch_buffers,
)
from keras_dawn.foundation.random_state import random_state, set_random_state
from keras_dawn.foundation.source_state import SourceState
from keras_dawn.schedules.finder_arguments import check_fit_arguments, check_validation
from keras_dawn.schedules.range_test import RangeTest, Sweep

import keras
import torch

_FIRST_STEPS = 10  # too few losses to call anything a divergence


def find_learning_rate(
    model, x, y=None, *, start=1e-7, end=10.0, steps=100, validation_data=None, **fit_arguments
):
    """Trains for some steps while the learning rate sweeps a range, and puts everything back.

    Reads the loss of each batch by itself, not Keras's running mean. Ends early when the
    smoothed loss diverges or is not finite. Afterwards weights, optimizers, moving averages,
    those of torch modules inside the model too, random numbers and the data's epoch are bit for
    bit what they were, and so are the random generators of the data. Takes what `fit` takes but
    for `epochs` and callbacks, accelerated or not, on all ranks together. Image size and transforms
    are those of the data's epoch throughout: for a later size, `data.set_epoch` to an epoch that
    has it. Under a plan, give the data that is made for a phase. Another hyper-parameter, another
    spacing or another end: `try_values`.

    Args:
        model: compiled `keras.Model`.
        x, y: data, as for `fit`; seen as often as the steps need.
        start, end: floats above 0, the range; a constant ratio lies between two steps.
        steps: int from 2 up, how many batches.
        validation_data: `(inputs, targets)` of a batch to measure after every step, or `None`.
        **fit_arguments: such as `batch_size` and `shuffle`.

    Returns:
        `RangeTest`, with the suggestions `valley`, `minimum`, `steep` and `slide`.

    Raises:
        ValueError: a range that makes no sense, arguments that `fit` does not take; a learning
            rate that is a schedule object; within a `fit` of the model.

    Example:
        >>> found = find_learning_rate(model, images, labels)           # doctest: +SKIP
        >>> callback = keras_dawn.OneCycle(max_lr=found.valley)         # doctest: +SKIP
    """
    sweep = Sweep(start, end, steps)
    return try_values(sweep, model, x, y, validation_data=validation_data, **fit_arguments)


def try_values(sweep, model, x, y=None, *, validation_data=None, **fit_arguments):
    """The range test of any hyper-parameter; see `find_learning_rate`.

    Args:
        sweep: `Sweep`: which hyper-parameter, its range, and when to stop.
        model, x, y, validation_data, **fit_arguments: as for `find_learning_rate`.

    Returns:
        `RangeTest`.

    Raises:
        ValueError: a model that is not compiled, a parameter that its optimizer lacks, or a call
            within a `fit` of the model.

    Example:
        >>> sweep = Sweep(0.5, 0.95, 20, parameter="momentum", spacing="linear")
        >>> found = try_values(sweep, model, images, labels)            # doctest: +SKIP
    """
    if getattr(model, "optimizer", None) is None:
        raise ValueError("The range test needs a compiled model.")
    if keras_fit.epoch_iterator(model) is not None:
        raise ValueError(
            "The range test trains the model in a `fit` of its own, and one is under way. Call it "
            "before that `fit`, not in a callback."
        )
    fit_arguments = check_fit_arguments(model, fit_arguments)
    check_validation(validation_data)
    attribute = hyperparameters.resolve(model.optimizer, sweep.parameter)
    run = _Sweeping(sweep, attribute, x, validation_data)
    first = keras_fit.is_to_be_built(model)
    random, source = random_state(), SourceState(x)
    before, history = source.now(), getattr(model, "history", None)
    try:
        model.fit(x, y, epochs=sweep.steps, callbacks=[run], **fit_arguments)
    finally:
        run.put_back()
        source.put_back(before)
        if first and run.began:  # the next `fit` has nothing to build, which draws numbers
            random |= {name: run.began[name] for name in ("torch", "cuda", "keras")}
        set_random_state(random)
        model.stop_training = False
        if history is not None:
            model.history = history  # of the `fit` before
    return RangeTest.from_losses(
        sweep.parameter,
        run.values[: len(run.losses)],
        run.losses,
        sweep.smoothing,
        stopped=run.stopped,
        planned=len(run.values),
        validation_values=tuple(run.values[: len(run.validation_losses)]),
        validation_losses=tuple(run.validation_losses),
    )


class _Sweeping(keras.callbacks.Callback):
    """Sets the swept value before each batch and reads the batch's loss after it."""

    def __init__(self, sweep, attribute, data, validation_data):
        super().__init__()
        self.values = sweep.values()
        self._attribute, self._data = attribute, data
        # The sweep may take several passes, and data with growing images would change at each.
        self._settings = getattr(data, "settings_epoch", None)
        if self._settings is None:
            self._settings = getattr(data, "epoch", None)
        self._smoothing, self._stop_factor = sweep.smoothing, sweep.stop_factor
        self._validation = validation_data
        self._mean, self._lowest = 0.0, math.inf
        self._before = None  # what is put back
        self.began = None  # the random numbers when the model was built
        self._served = None  # the data as the `fit` reads it
        self._done = False
        self._own_loss = None  # whether the step keeps the loss itself; its first batch tells
        self.losses, self.validation_losses = [], []
        self.stopped = "the end of the range"

    def on_train_begin(self, logs=None):
        self.began = random_state()
        model = self.model
        iterator = keras_fit.epoch_iterator(model)
        self._served = None if iterator is None else keras_fit.data_of(iterator)[1]
        optimizer = hyperparameters.unwrap(model.optimizer)
        variables = [*model.variables, *optimizer_variables(model), *metric_variables(model)]
        tensors = [*[variable.value for variable in variables], *torch_buffers(model)]
        self._before = (
            [(tensor, tensor.detach().clone()) for tensor in tensors],
            (optimizer, getattr(optimizer, self._attribute)),
            [
                (part, _own_state(part))
                for metric in model.metrics
                for part in getattr(metric, "metrics", [metric])
            ],
        )

    def on_epoch_begin(self, epoch, logs=None):
        if hasattr(self._data, "settings_epoch"):  # the order changes, and the size does not
            self._data.settings_epoch = self._settings

    def on_train_batch_begin(self, batch, logs=None):
        value = self.values[min(len(self.losses), len(self.values) - 1)]
        hyperparameters.write(self.model.optimizer, self._attribute, value)
        with torch.no_grad():
            for mean in self._means():
                for variable in (mean.total, mean.count):
                    variable.value.zero_()  # so that it holds this batch alone

    def _means(self):
        """The running means of the loss: Keras's, and those that an own `train_step` brings."""
        own = [one for one in self.model.metrics if isinstance(one, keras.metrics.Mean)]
        tracker = keras_metrics.loss_tracker(self.model)
        return own if tracker is None else [tracker, *own]

    def on_train_batch_end(self, batch, logs=None):
        if self._done:  # several ranks stop one step after one of them asked for it
            return
        sums = torch.stack(self._sums(logs)).detach()
        if current().several:
            sum_over_ranks([sums])
        total, count = sums.tolist()
        self._note(total / count)
        if self._validation is not None:
            self.validation_losses.append(self._validate())

    def _sums(self, logs):
        """The losses of the batch, summed, and their number, as 0-d tensors."""
        tracker = keras_metrics.loss_tracker(self.model)
        if self._own_loss is None:
            self._own_loss = tracker is None or not float(tracker.count.value)
        if not self._own_loss:
            return [tracker.total.value, tracker.count.value]
        loss = (logs or {}).get("loss")
        if loss is None:
            raise ValueError(
                "The range test needs the loss of every batch: the model's `train_step` has to "
                f'return it as "loss", and returned {sorted(logs or ())}.'
            )
        device = self.model.optimizer.iterations.value.device
        loss = torch.as_tensor(loss, dtype=torch.float32, device=device)
        weight = getattr(self._served, "rank_weight", 1.0)  # of this rank's part of the batch
        return [loss * weight, torch.full_like(loss, weight)]

    def _note(self, loss):
        self.losses.append(loss)
        self._mean = self._smoothing * self._mean + (1 - self._smoothing) * loss
        # The mean began at 0; see `range_test.smooth`.
        smoothed = self._mean / (1 - self._smoothing ** len(self.losses))
        if not math.isfinite(loss):
            self.stopped = f"the loss is {loss}"
        elif self._diverges(smoothed):
            self.stopped = f"the smoothed loss is above {self._stop_factor:g} times its lowest"
        elif len(self.losses) < len(self.values):
            self._lowest = min(self._lowest, smoothed)
            return
        self._done = self.model.stop_training = True

    def _diverges(self, smoothed):
        if self._stop_factor is None or len(self.losses) <= _FIRST_STEPS or self._lowest <= 0:
            return False
        return smoothed > self._stop_factor * self._lowest

    def _validate(self):
        inputs, targets = self._validation
        logs = self.model.test_on_batch(inputs, targets, return_dict=True)
        return float(logs["loss"])

    def put_back(self):
        """Undoes the training; nothing was done if it did not begin."""
        if self._before is None:
            return
        contents, (optimizer, value), metrics = self._before
        # In place: a captured step and an accelerated model hold these very tensors.
        for tensor, content in contents:
            overwrite(tensor, content)
        if not isinstance(value, keras.Variable):
            setattr(optimizer, self._attribute, value)
        for metric, attributes in metrics:
            vars(metric).update(attributes)


def _own_state(metric):
    """What a metric with a `state_dict` keeps beside its variables, such as `LossMemory`."""
    if not hasattr(metric, "state_dict"):
        return {}
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in vars(metric).items()
        if isinstance(value, (torch.Tensor, tuple, bool, int, float, str, type(None)))
    }
