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


def train(native, optimizer, data_format="channels_last", epochs=4, **fit):
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
def test_twenty_one_cycle_steps_in_float64_equal_plain_keras(name, true_float64):
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


def test_bfloat16_follows_plain_keras():
    keras.config.set_dtype_policy("mixed_bfloat16")
    ours, theirs = (
        train(native, OPTIMIZERS["torch-form SGD"], epochs=3) for native in (True, False)
    )
    np.testing.assert_allclose(ours[1]["loss"], theirs[1]["loss"], rtol=0.02)
    assert all(v.dtype == "float32" for v in ours[0].trainable_variables)
    assert torch.float32 == ours[0].trainable_variables[0].value.dtype
