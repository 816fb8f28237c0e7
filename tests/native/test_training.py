"""Accelerated training against plain Keras, step by step over whole schedules."""

import keras_dawn
from keras_dawn import OneCycle

import keras
import numpy as np
import pytest
import torch
from keras import layers

OPTIMIZERS = {
    "torch-form SGD": lambda: keras_dawn.SGD(0.1, weight_decay=5e-3),
    "torch-form Nesterov": lambda: keras_dawn.SGD(
        0.1, nesterov=True, weight_decay=5e-3, no_decay=["bias"], rate_multipliers={"beta": 2.0}
    ),
    "torch-form decoupled": lambda: keras_dawn.SGD(0.1, weight_decay=5e-3, decoupled=True),
    "Keras SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=5e-3),
    "Keras Nesterov": lambda: keras.optimizers.SGD(
        0.1, momentum=0.9, nesterov=True, weight_decay=5e-3
    ),
    "Keras Adam": lambda: keras.optimizers.Adam(0.003),
    "Keras AdamW": lambda: keras.optimizers.AdamW(0.003, weight_decay=0.01),
    "clipped together": lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.5),
    "clipped each": lambda: keras.optimizers.Adam(0.003, clipnorm=0.1),
    "clipped values": lambda: keras_dawn.SGD(0.1, clipvalue=0.02),
    "LARS": lambda: keras_dawn.optimizers.LARS(20.0, weight_decay=1e-3),
    "Muon": lambda: keras_dawn.optimizers.Muon(
        0.02, weight_decay=1e-2, compute_dtype="float64", sgd_momentum=0.8, clipnorm=1.0
    ),
    "Keras Lamb": lambda: keras.optimizers.Lamb(0.003),
    "accumulating": lambda: keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2),
    "another": lambda: keras.optimizers.RMSprop(0.001, momentum=0.5),
}


def network(data_format="channels_last"):
    shape = (8, 8, 3) if data_format == "channels_last" else (3, 8, 8)
    axis = -1 if data_format == "channels_last" else 1
    common = {"data_format": data_format}
    x = inputs = keras.Input(shape)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, **common)(x)
    x = layers.ReLU()(layers.BatchNormalization(axis=axis)(x))
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", **common)(x)
    y = layers.Activation("silu")(layers.BatchNormalization(axis=axis, momentum=0.9)(y))
    z = layers.MaxPooling2D(2, **common)(x)
    x = layers.Add()([y, z])
    x = layers.GlobalAveragePooling2D(**common)(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def train(native, optimizer, data_format="channels_last", epochs=10, **fit):
    keras.utils.set_random_seed(1)
    model = network(data_format)
    model.compile(
        optimizer(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
    )
    if native:
        keras_dawn.accelerate(model, log_every=3)
    random = np.random.default_rng(0)
    x = random.normal(size=(50, *model.input_shape[1:]))
    y = random.integers(0, 5, 50)
    history = model.fit(
        x, y, batch_size=10, epochs=epochs, validation_data=(x[:33], y[:33]),
        callbacks=[OneCycle()], shuffle=False, verbose=0, **fit,
    )  # fmt: skip
    return model, history.history


def assert_same(ours, theirs, tolerance=1e-6):
    (model, history), (expected_model, expected_history) = ours, theirs
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    pairs = [
        *zip(model.variables, expected_model.variables, strict=True),
        *zip(model.optimizer.variables, expected_model.optimizer.variables, strict=True),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(
            one.numpy(), other.numpy(), rtol=tolerance, atol=tolerance, err_msg=one.path
        )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_one_cycle_steps_in_float64_equal_plain_keras(name, true_float64):
    optimizer = OPTIMIZERS[name]
    ours, theirs = train(True, optimizer), train(False, optimizer)
    assert_same(ours, theirs)
    assert keras_dawn.explain(ours[0]).native
    assert keras_dawn.explain(ours[0]).optimizer == "native"


@pytest.mark.parametrize("name", ["torch-form SGD", "Keras Nesterov"])
def test_channels_first_equals_plain_keras(name, true_float64):
    optimizer = OPTIMIZERS[name]
    assert_same(train(True, optimizer, "channels_first"), train(False, optimizer, "channels_first"))


@pytest.mark.parametrize("weights", [{"class_weight": {0: 2.0, 1: 0.5, 2: 1, 3: 1, 4: 3}},
                                     {"sample_weight": np.linspace(0.1, 2, 50)}])  # fmt: skip
def test_weighted_samples_equal_plain_keras(weights, true_float64):
    optimizer = OPTIMIZERS["Keras SGD"]
    assert_same(
        train(True, optimizer, epochs=2, **weights), train(False, optimizer, epochs=2, **weights)
    )


@pytest.mark.parametrize(
    ("loss", "last", "targets"),
    [
        (keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), None, "one"),
        (keras.losses.CategoricalCrossentropy(), "softmax", "one"),
        (keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2), None, "one"),
        (keras.losses.BinaryCrossentropy(), "sigmoid", "one"),
        (keras.losses.MeanSquaredError(), None, "one"),
        (keras.losses.Huber(), None, "one"),
        ("sparse_categorical_crossentropy", "softmax", "number"),
    ],
)
def test_losses_and_metrics_equal_plain_keras(loss, last, targets, true_float64):
    x = np.random.default_rng(0).normal(size=(40, 6))
    y = np.arange(40) % 4
    if targets == "one":
        y = np.eye(4)[y]
    results = []
    for native in (True, False):
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.Input((6,)), layers.Dense(4, last)])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
        if native:
            keras_dawn.accelerate(model)
        history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
        results.append((model, history.history))
    assert_same(*results)


def test_several_outputs_equal_plain_keras(true_float64):
    x = np.random.default_rng(0).normal(size=(24, 6))
    targets = {"a": np.arange(24) % 3, "b": x[:, :1]}
    results = []
    for native in (True, False):
        keras.utils.set_random_seed(2)
        inputs = keras.Input((6,))
        hidden = layers.Dense(8, "relu")(inputs)
        model = keras.Model(
            inputs, {"a": layers.Dense(3, name="a")(hidden), "b": layers.Dense(1, name="b")(hidden)}
        )
        model.compile(
            keras_dawn.SGD(0.1),
            loss={"a": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "b": "mse"},
            loss_weights={"a": 1.0, "b": 0.3},
            metrics={"a": ["accuracy"]},
        )
        if native:
            keras_dawn.accelerate(model)
        history = model.fit(x, targets, batch_size=8, epochs=3, shuffle=False, verbose=0)
        results.append((model, history.history))
    assert_same(*results)
    ours, theirs = (model.predict(x, verbose=0) for model, _ in results)
    np.testing.assert_allclose(ours["a"], theirs["a"], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
def test_moving_variance_is_the_biased_one(epsilon):
    """By hand: one step with momentum 0.9 on known numbers."""
    model = keras.Sequential(
        [keras.Input((2,)), layers.BatchNormalization(momentum=0.9, epsilon=epsilon)]
    )
    model.compile(keras_dawn.SGD(0.0, momentum=0.5), "mse")
    keras_dawn.accelerate(model)
    x = np.array([[0.0, 1.0], [2.0, 5.0]], "float32")
    model.fit(x, x, verbose=0)
    layer = model.layers[0]
    np.testing.assert_allclose(layer.moving_mean.numpy(), [0.1 * 1, 0.1 * 3], rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), [0.9 + 0.1 * 1, 0.9 + 0.1 * 4], rtol=1e-4
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shape", [(6,), (1, 1, 6)])
def test_a_single_value_a_channel_is_normalised_to_beta_exactly(shape, center, policy):
    """What rounding leaves of 0 would pass a ReLU, with its gradient, at random."""
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.BatchNormalization(center=center),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(1, "linear"),
        ]
    )
    model.compile(keras_dawn.SGD(0.5), "mse")
    x = np.random.default_rng(0).normal(size=(1, *shape))
    trained = model.trainable_variables[:-1]
    before = [np.array(variable.numpy()) for variable in trained]
    keras_dawn.accelerate(model)
    model.train_on_batch(x, np.ones((1, 1)))
    for variable, old in zip(trained, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)  # no gradient passes ReLU's kink


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


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.losses.MeanSquaredError(reduction="sum"),
    ],
    ids=["sum", "ignored class", "mean", "squares"],
)
@pytest.mark.parametrize("policy", ["float32", "bfloat16"])
def test_losses_of_every_setting_equal_plain_keras(loss, policy):
    """The layers' outputs are the same here: half-precision logits are no less exact losses."""
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    y = x.round() if isinstance(loss, keras.losses.MeanSquaredError) else np.arange(20) % 4
    model = keras.Sequential([keras.Input((4,)), layers.Identity(dtype=policy)])
    model.compile(loss=loss)
    expected = model.evaluate(x, y, batch_size=8, verbose=0)
    keras_dawn.accelerate(model)
    assert model.evaluate(x, y, batch_size=8, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k, column", [(1, False), (3, False), (5, False), (8, False), (3, True)])
def test_top_k_counts_the_first_k_of_the_logits(k, column):
    """By hand: how many classes are ahead of the right one."""
    logits = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    y = np.arange(64) % 8
    ahead = (logits > logits[np.arange(64), y][:, None]).sum(1)
    for metric, loss, targets in (
        (
            keras.metrics.SparseTopKCategoricalAccuracy(k),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            y[:, None] if column else y,
        ),
        (
            keras.metrics.TopKCategoricalAccuracy(k),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            np.eye(8)[y],
        ),
    ):
        inputs = keras.Input((8,))
        model = keras.Model(inputs, layers.Identity()(inputs))
        model.compile(loss=loss, metrics=[metric])
        keras_dawn.accelerate(model)
        found = model.evaluate(logits, targets, batch_size=10, verbose=0, return_dict=True)
        assert found[metric.name] == pytest.approx((ahead < k).mean(), abs=1e-6)


class TestFloat16:
    def model(self):
        keras.config.set_dtype_policy("mixed_float16")
        keras.utils.set_random_seed(0)
        model = network()
        model.compile(
            keras.optimizers.LossScaleOptimizer(
                keras_dawn.SGD(0.1, weight_decay=1e-3), initial_scale=1024.0, dynamic_growth_steps=3
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return keras_dawn.accelerate(model)

    def batch(self, bad=False):
        x = np.random.default_rng(0).normal(size=(10, 8, 8, 3)).astype("float32")
        if bad:
            x[0, 0, 0, 0] = np.inf
        return x, np.arange(10) % 5

    def test_a_bad_batch_is_skipped_and_leaves_no_trace(self):
        model = self.model()
        model.train_on_batch(*self.batch())
        optimizer = model.optimizer
        before = [w.copy() for w in model.get_weights()]
        velocities = [v.numpy().copy() for v in optimizer.inner_optimizer.variables]
        model.train_on_batch(*self.batch(bad=True))
        assert float(optimizer.dynamic_scale) == 512.0 and int(optimizer.step_counter) == 0
        assert int(optimizer.iterations) == 1
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)  # moving averages too
        for old, new in zip(velocities, optimizer.inner_optimizer.variables, strict=True):
            np.testing.assert_array_equal(old, new.numpy())

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras_dawn.SGD(0.1, weight_decay=0.1),
            lambda: keras_dawn.SGD(0.1, momentum=0.0, weight_decay=0.1),
            lambda: keras_dawn.SGD(0.1, weight_decay=0.1, decoupled=True),
            lambda: keras.optimizers.SGD(0.1, weight_decay=0.1),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, clipnorm=1.0),
            lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
            lambda: keras_dawn.optimizers.LARS(0.1, weight_decay=0.1),
            lambda: keras_dawn.optimizers.Muon(0.1, weight_decay=0.1),
        ],
        ids=["coupled", "coupled without momentum", "decoupled", "Keras SGD", "clipped",
             "AdamW", "LARS", "Muon"],
    )  # fmt: skip
    def test_a_bad_batch_decays_no_weight_and_moves_no_state(self, optimizer):
        keras.config.set_dtype_policy("mixed_float16")
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.BatchNormalization(),
                layers.Dense(4, bias_initializer="ones", name="head"),
            ]
        )
        model.compile(
            keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=1024.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        keras_dawn.accelerate(model)
        x, y = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 4
        watched = [*model.variables, *model.optimizer.inner_optimizer.variables]
        place = [v.path.endswith("head/kernel") for v in watched].index(True)
        states = []
        for bad in (False, True, False):
            x[0, 0] = np.inf if bad else 0.5
            model.train_on_batch(x, y)
            states.append([v.numpy().copy() for v in watched])
        for variable, old, new in zip(watched, states[0], states[1], strict=True):
            np.testing.assert_array_equal(old, new, err_msg=variable.path)
        before, after = (kept[place] for kept in states[1:])
        assert np.isfinite(after).all() and np.abs(after - before).max() > 1e-6  # it goes on

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras_dawn.SGD(0.1),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
        ],
        ids=["torch's form", "Keras's form", "clipped"],
    )
    @pytest.mark.parametrize("scale", [1.0, 4096.0])
    def test_the_scale_is_taken_out_of_the_step(self, optimizer, scale):
        keras.config.set_dtype_policy("mixed_float16")
        x, y = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 4
        moved = []
        for native in (True, False):
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
            model.compile(
                keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=scale),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
            if native:
                keras_dawn.accelerate(model)
            before = model.get_weights()[0].copy()
            for _ in range(2):
                model.train_on_batch(x, y)
            moved.append(model.get_weights()[0] - before)
        np.testing.assert_allclose(*moved, rtol=2e-3, atol=2e-3 * np.abs(moved[1]).max())

    def test_the_scale_doubles_after_enough_good_steps(self):
        model = self.model()
        for _ in range(3):
            model.train_on_batch(*self.batch())
        assert float(model.optimizer.dynamic_scale) == 2048.0
        assert int(model.optimizer.step_counter) == 0
        assert int(model.optimizer.iterations) == 3

    def test_losses_follow_plain_keras(self):
        ours, plain = self.model(), keras_dawn.restore(self.model())
        for _ in range(4):
            one, other = ours.train_on_batch(*self.batch()), plain.train_on_batch(*self.batch())
            assert one == pytest.approx(other, rel=5e-3)

    @pytest.mark.parametrize("make", [keras.optimizers.Adam, keras_dawn.optimizers.Muon])
    def test_other_optimizers_skip_a_bad_batch_too(self, make):
        keras.config.set_dtype_policy("mixed_float16")
        model = network()
        model.compile(make(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        keras_dawn.accelerate(model)
        model.fit(*self.batch(bad=True), verbose=0)
        assert int(model.optimizer.iterations) == 0
        assert float(model.optimizer.dynamic_scale) == 2.0**14
        model.fit(*self.batch(), epochs=2, verbose=0)
        assert keras_dawn.explain(model).optimizer == "native"
        assert int(model.optimizer.iterations) == 2
        assert all(np.isfinite(w).all() for w in model.get_weights())


def test_bfloat16_follows_plain_keras():
    keras.config.set_dtype_policy("mixed_bfloat16")
    ours, theirs = (
        train(native, OPTIMIZERS["torch-form SGD"], epochs=3) for native in (True, False)
    )
    np.testing.assert_allclose(ours[1]["loss"], theirs[1]["loss"], rtol=0.02)
    assert all(v.dtype == "float32" for v in ours[0].trainable_variables)
    assert torch.float32 == ours[0].trainable_variables[0].value.dtype
