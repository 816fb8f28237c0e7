"""The settings of optimizers in accelerated training against plain Keras, over a few steps."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers


def tiny_steps(native, optimizer, steps=4, **last):
    """A few steps of a network of vectors; returns it."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "tanh", name="first"),
            layers.Dense(4, name="last", **last),
        ]
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if native:
        keras_dawn.accelerate(model)
    return go_on(model, steps)


def go_on(model, steps):
    x = np.random.default_rng(0).normal(size=(16, 6))
    for _ in range(steps):
        model.train_on_batch(x, np.arange(16) % 4)
    return model


def without_decay(optimizer, *names):
    optimizer.exclude_from_weight_decay(var_names=list(names))
    return optimizer


# The gradients' first norms: 0.8 together, from 0.06 to 0.6 each; the largest values 0.05 to 0.3.
CLIPPING = [
    {"clipvalue": 10.0}, {"clipvalue": 0.05}, {"clipnorm": 10.0}, {"clipnorm": 0.3},
    {"clipnorm": 0.01}, {"global_clipnorm": 10.0}, {"global_clipnorm": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("limit", CLIPPING, ids=str)
@pytest.mark.parametrize("kind", [keras_dawn.SGD, keras.optimizers.SGD])
def test_clipping_above_and_below_the_limit_equals_plain_keras(kind, limit, true_float64):
    ours, theirs, unclipped = (
        tiny_steps(native, kind(0.1, **arguments), steps=2).get_weights()
        for native, arguments in ((True, limit), (False, limit), (True, {}))
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    same = all(np.allclose(*pair, rtol=1e-9) for pair in zip(ours, unclipped, strict=True))
    assert same == (10.0 in limit.values())  # the other limits are reached


SETTINGS = {
    "no momentum": lambda: keras_dawn.SGD(0.1, momentum=0.0, weight_decay=0.1),
    "decoupled, by weight": lambda: keras_dawn.SGD(
        0.1, weight_decay=0.1, decoupled=True, no_decay=["last/bias"],
        rate_multipliers={"first": 3.0}, decay_multipliers={"kernel": 0.5},
    ),
    "coupled, by weight": lambda: keras_dawn.SGD(
        0.1, nesterov=True, weight_decay=0.1, rate_multipliers={"first": 3.0},
        decay_multipliers={"kernel": 0.5},
    ),
    "Keras SGD without momentum": lambda: keras.optimizers.SGD(0.1, weight_decay=0.1),
    "Keras SGD, some decayed": lambda: without_decay(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1), "bias"
    ),
    "Adam, large epsilon": lambda: keras.optimizers.Adam(0.01, 0.7, 0.9, epsilon=0.1),
    "AdamW, some decayed": lambda: without_decay(
        keras.optimizers.AdamW(0.01, weight_decay=0.3, beta_2=0.95), "kernel"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_optimizers_settings_equal_plain_keras(name, true_float64):
    ours, theirs = (tiny_steps(native, SETTINGS[name]()) for native in (True, False))
    assert keras_dawn.explain(ours).optimizer == "native"
    assert_same_state(ours, theirs)


@pytest.mark.parametrize("kind", ["SGD", "Muon"])
def test_weights_excluded_from_decay_between_two_trainings_are_left_alone(kind, true_float64):
    ends = []
    for native in (True, False):
        optimizer = getattr(keras.optimizers, kind)(0.1, weight_decay=0.5)
        model = tiny_steps(native, optimizer, steps=2)
        without_decay(optimizer, "bias")
        ends.append(go_on(model, 2).get_weights())
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "Muon"])
def test_a_rate_is_called_as_often_as_in_plain_keras(kind, true_float64):
    ends = []
    for native in (True, False):
        rates = iter(np.linspace(0.01, 0.2, 100))
        optimizer = getattr(keras.optimizers, kind)(lambda: next(rates), weight_decay=0.5)  # noqa: B023
        ends.append([*tiny_steps(native, optimizer).get_weights(), next(rates)])
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_gradients_that_are_infinite_stay_among_those_that_add_up_as_in_plain_keras():
    ends = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
        optimizer = keras.optimizers.SGD(0.1, clipvalue=1.0, gradient_accumulation_steps=2)
        model.compile(optimizer, "mae", loss_weights=1e38)
        if native:
            keras_dawn.accelerate(model)
        for x in (1e3, 1.0, 1.0, 1.0):  # of which the first makes infinite gradients
            model.train_on_batch(np.full((4, 2), x), np.zeros((4, 1)))
        ends.append([v.numpy() for v in (*model.variables, *optimizer.variables)])
    assert np.isnan(ends[1][0]).all()
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other)


def test_adam_follows_a_counter_that_is_set(true_float64):
    models = []
    for native in (True, False):
        model = tiny_steps(native, keras.optimizers.Adam(0.01), steps=2)
        model.optimizer.iterations.assign(50)
        models.append(go_on(model, 2))
    assert_same_state(*models)


def assert_same_state(ours, theirs):
    """Of the models and of their optimizers."""
    pairs = [
        *zip(ours.variables, theirs.variables, strict=True),
        *zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(
            one.numpy(), other.numpy(), rtol=1e-9, atol=1e-12, err_msg=one.path
        )


@pytest.mark.parametrize(
    ("optimizer", "last"),
    [
        (lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2), {}),
        (lambda: keras.optimizers.SGD(0.1, loss_scale_factor=8.0), {}),
        (lambda: keras.optimizers.Adam(0.05, amsgrad=True), {}),
        (
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)),
            {},
        ),
        (
            lambda: keras.optimizers.SGD(0.1),
            {"kernel_constraint": keras.constraints.MaxNorm(0.5)},
        ),
    ],
    ids=["average", "loss scale", "amsgrad", "schedule", "constraint"],
)
def test_what_an_optimizer_adds_by_itself_is_added(optimizer, last, true_float64):
    ours, theirs = (tiny_steps(native, optimizer(), **last) for native in (True, False))
    assert keras_dawn.explain(ours).optimizer == "native"
    assert_same_state(ours, theirs)
