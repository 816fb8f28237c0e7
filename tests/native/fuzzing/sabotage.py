"""Breaks the package on purpose, to see that the fuzzer notices.

Every function here is a context manager within which one small thing is wrong.
"""

import contextlib
from unittest import mock

from keras_dawn.foundation import keras_losses, keras_masks, keras_models
from keras_dawn.native import statistics
from keras_dawn.native.lowering import rules
from keras_dawn.native.lowering.reads import Reads
from keras_dawn.native.steps import averages, metrics, optimization, step_loss, updates

import keras
from keras import layers

SABOTAGES = {}


def sabotage(function):
    SABOTAGES[function.__name__] = contextlib.contextmanager(function)
    return function


class _Instead:
    """An object, but for some attributes."""

    def __init__(self, thing, **attributes):
        self.__dict__.update(attributes, _thing=thing)

    def __getattr__(self, name):
        return getattr(self._thing, name)


@sabotage
def epsilon_of_batch_normalization_doubled():
    rule = rules.RULES[layers.BatchNormalization]

    def wrong(builder, layer, inputs, call):
        # The layer itself keeps its own: what was read of it would be seen to have changed.
        return rule(builder, _Instead(layer, epsilon=2 * layer.epsilon), inputs, call)

    traits = {wrong: rules._TRAITS[rule]}  # which arguments it takes
    kinds = {layers.BatchNormalization: wrong}
    with mock.patch.dict(rules._TRAITS, traits), mock.patch.dict(rules.RULES, kinds):
        yield


def _other_optimizer(change):
    """The fused updates on an optimizer with changed attributes."""
    make = optimization.make_update

    def wrong(optimizer, leaves, variables):
        update = make(optimizer, leaves, variables)
        if not isinstance(update, updates.KerasApply):
            update.optimizer = _Instead(optimizer, **change(optimizer))
        return update

    return mock.patch.object(optimization, "make_update", wrong)


@sabotage
def learning_rate_frozen_at_its_first_value():
    def change(optimizer):
        rate = float(optimizer.learning_rate.value)  # a variable would be shared
        return {"learning_rate": keras.Variable(rate, name="frozen_rate")}

    with _other_optimizer(change):
        yield


@sabotage
def momentum_of_the_optimizer_a_tenth_smaller():
    with _other_optimizer(lambda optimizer: {"momentum": 0.9 * getattr(optimizer, "momentum", 0)}):
        yield


@sabotage
def weight_decay_forgotten():
    def change(optimizer):
        return {"weight_decay": 0.0}

    with _other_optimizer(change):
        yield


@sabotage
def clipping_forgotten():
    def change(optimizer):
        return {"clipnorm": None, "clipvalue": None, "global_clipnorm": None}

    with _other_optimizer(change):
        yield


@sabotage
def added_losses_left_out():
    with mock.patch.object(keras_losses, "with_added_losses", lambda model, loss: loss):
        yield


@sabotage
def masks_lost():
    with mock.patch.object(keras_masks, "attach_mask", lambda tensor, mask: None):
        yield


@sabotage
def changed_settings_not_seen():
    with mock.patch.object(Reads, "are_current", lambda reads: True):
        yield


@sabotage
def training_branch_dropped():
    with mock.patch.object(keras_models, "has_training_argument", lambda model: False):
        yield


@sabotage
def momentum_of_moving_averages_a_tenth_smaller():
    average = averages.average

    def wrong(mean, variance, new, deviation, momentum, epsilon, skip=None):
        average(mean, variance, new, deviation, 0.9 * momentum, epsilon, skip)

    with mock.patch.object(statistics, "average", wrong):
        yield


@sabotage
def mean_of_the_loss_by_one_example_more():
    native_loss = step_loss.native_loss

    class Off(_Instead):
        def __call__(self, y, outputs, weight=None):
            loss = self._thing(y, outputs, weight)
            count = len(keras.tree.flatten(outputs)[0])
            return None if loss is None else loss * (count / (count + 1))

    def wrong(model, outputs):
        function, reason = native_loss(model, outputs)
        return function if function is None else Off(function), reason

    with mock.patch.object(step_loss, "native_loss", wrong):
        yield


@sabotage
def tracked_loss_not_weighted_by_the_batch():
    track = metrics.NativeMetrics.track

    def wrong(self, loss, batch):
        track(self, loss, 4)

    with mock.patch.object(metrics.NativeMetrics, "track", wrong):
        yield


def caught(seeds, check):
    """By which seed each sabotage is found out: one that gives no difference without it.

    Args:
        seeds: iterable of int.
        check: function from a seed to a `Case`.

    Returns:
        Dict from the name of a sabotage to a seed, without those that nothing found out.
    """
    found = {}
    for seed in seeds:
        left = [name for name in SABOTAGES if name not in found]
        if not left:
            break
        if check(seed).found:
            continue
        for name in left:
            with SABOTAGES[name]():
                if check(seed).found:
                    found[name] = seed
    return found
