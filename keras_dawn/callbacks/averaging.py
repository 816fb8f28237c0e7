"""Averages of the weights along the training."""

import warnings

from keras_dawn.callbacks.weight_copies import WeightCopies
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.evaluation.batch_statistics import estimate_statistics
from keras_dawn.schedules import constant
from keras_dawn.schedules.curves import ROUNDING

import torch


class ExponentialMovingAverage(WeightCopies):
    """Keeps an exponential moving average of the weights and ends the training with it.

    After each `every`-th step, `average ← decay · average + (1 - decay) · weights` (Polyak &
    Juditsky 1992), as `torch.optim.swa_utils.AveragedModel` does it with
    `get_ema_multi_avg_fn`: the first step's weights are taken as they are, and the moving
    averages of batch normalisation are averaged too. Within `fit`, validation sees the average,
    and so does what comes after it in that epoch: `ModelCheckpoint` saves it, and `EarlyStopping`
    restores the best of it. At the end the model has the average, or what `EarlyStopping` has
    restored; `in_place` gives it in between.

    Args:
        decay: float in (0, 1).
        every: int from 1 up, in how many steps of an epoch the weights are taken in; an epoch of
            fewer takes in none, and a warning says so.
        validate: bool, whether validation within `fit`, and what is saved after it in that epoch,
            sees the average.

    Raises:
        ValueError: values out of range.

    Example:
        >>> average = ExponentialMovingAverage(0.999)
        >>> model.fit(train, epochs=10, callbacks=[average])            # doctest: +SKIP
    """

    def __init__(self, decay=0.999, *, every=1, validate=True):
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be between 0 and 1, got {decay}.")
        _check_every(every)
        self.decay, self.every, self.validate = float(decay), every, validate
        self._warned = False

    @torch.no_grad()
    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.every:
            return
        tensors, copies = self._tensors()
        if self.updates:
            # One call for all weights: a loop over them would launch a kernel for each.
            torch._foreach_lerp_(copies, tensors, 1 - self.decay)
        else:
            torch._foreach_copy_(copies, tensors)
        self.updates += 1

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params.get("steps")
        if steps and steps < self.every and not (self.updates or self._warned):
            self._warned = True
            warnings.warn(
                f"ExponentialMovingAverage takes in the weights every {self.every} steps of an "
                f"epoch, and this epoch has {steps}: it has taken in none. Give a smaller `every`.",
                stacklevel=2,
            )

    def on_test_begin(self, logs=None):
        if self.validate and self.updates and not self._swapped:
            self._swap()
            if current().several:
                # They differ between the ranks, which have seen other images; the weights do not.
                average_moving_statistics(self.model)


class StochasticWeightAveraging(WeightCopies):
    """Averages the weights at the ends of the last epochs (SWA, Izmailov 2018, arXiv:1803.05407).

    All of them weigh the same. At the end of the training the model has their mean, and the
    statistics of its batch normalisation are measured again for it, on the training data. An
    `EarlyStopping` that restores the best weights goes before it in the list, or has the last word.

    Args:
        data: the training data (or a part of it): images, a tuple of images and labels, or what
            yields batches of them.
        start: float in [0, 1), the fraction of the training before the first of those epochs.
        every: int from 1 up, in how many epochs the weights are taken in.

    Raises:
        ValueError: values out of range.

    Example:
        >>> averaging = StochasticWeightAveraging(train, start=0.75)    # doctest: +SKIP
        >>> model.fit(train, epochs=20, callbacks=[averaging])          # doctest: +SKIP
    """

    def __init__(self, data, *, start=0.75, every=1):
        super().__init__()
        if not 0 <= start < 1:
            raise ValueError(f"`start` must be in [0, 1), got {start}.")
        _check_every(every)
        self.data, self.start, self.every = data, start, every

    @torch.no_grad()
    def on_epoch_end(self, epoch, logs=None):
        first = int(self.start * self.params["epochs"] + ROUNDING)
        if epoch < first or (epoch - first) % self.every:
            return
        tensors, copies = self._tensors()
        self.updates += 1
        if self.updates == 1:
            torch._foreach_copy_(copies, tensors)
        else:
            # The running mean of n: each new one counts for an n-th.
            torch._foreach_lerp_(copies, tensors, 1 / self.updates)

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        if self.updates and not self.goes_on:
            estimate_statistics(self.model, self.data)


class Lookahead(WeightCopies):
    """Lets slow weights follow the fast ones of any optimizer (Zhang 2019, arXiv:1907.08610).

    After every `every`-th step of the training, `slow ← slow + alpha · (fast - slow)` and the
    training goes on from there; moving averages of batch normalisation move along. At the end
    the model has the slow weights.

    Args:
        every: int from 1 up, steps.
        alpha: float in (0, 1], or a curve of training progress (`keras_dawn.schedules`).

    Raises:
        ValueError: values out of range.

    Example:
        >>> model.fit(train, epochs=10, callbacks=[Lookahead(5, 0.5)])  # doctest: +SKIP
    """

    def __init__(self, every=5, alpha=0.5):
        super().__init__()
        _check_every(every)
        if not callable(alpha) and not 0 < alpha <= 1:
            raise ValueError(f"`alpha` must be in (0, 1], or a curve, got {alpha!r}.")
        self.every, self.alpha = every, alpha if callable(alpha) else constant(float(alpha))
        self._done = 0

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch

    def state_dict(self):
        """The copy, on the CPU, and how many steps there were, for checkpoints."""
        return {**super().state_dict(), "done": self._done}

    def load_state_dict(self, state):
        """Takes up what `state_dict` and `rank_state_dict` returned, merged."""
        super().load_state_dict(state)
        self._done = state["done"]

    def _make(self):
        super()._make()
        self._done = 0  # counted: the phases of a plan have epochs of different lengths

    @torch.no_grad()
    def on_train_batch_end(self, batch, logs=None):
        steps = self.params.get("steps")
        if not steps:
            raise ValueError("Lookahead needs to know the steps: pass `steps_per_epoch=` to `fit`.")
        self._done += 1
        if self._done % self.every:
            return
        fast, slow = self._tensors()
        progress = (self._epoch * steps + batch + 1) / (self.params["epochs"] * steps)
        alpha = float(self.alpha(progress))
        torch._foreach_lerp_(slow, fast, alpha)
        torch._foreach_copy_(fast, slow)
        self.updates += 1


def _check_every(every):
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"`every` must be a whole number from 1 up, got {every!r}.")
