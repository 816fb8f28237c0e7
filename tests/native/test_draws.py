"""Layers that draw from generators of their own, natively: the numbers that Keras draws."""

import keras_dawn
from keras_dawn.native.lowering import draws, lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.on_device import torch

SHAPES = {3: (9, 4), 4: (7, 6, 4), 5: (4, 3, 5, 4)}
LAYERS = [
    (3, lambda: layers.Dropout(0.4, seed=3)),
    (4, lambda: layers.Dropout(0.4, noise_shape=(None, 1, None, 1))),
    (3, lambda: layers.SpatialDropout1D(0.5)),
    (4, lambda: layers.SpatialDropout2D(0.5, seed=1)),
    (4, lambda: layers.SpatialDropout2D(0.5, data_format="channels_first")),
    (5, lambda: layers.SpatialDropout3D(0.5)),
    (3, lambda: layers.GaussianNoise(0.7)),
    (4, lambda: layers.GaussianNoise(0.7, seed=5)),
    (4, lambda: layers.GaussianDropout(0.3)),
    (3, lambda: layers.AlphaDropout(0.3)),
    (4, lambda: layers.AlphaDropout(0.3, noise_shape=(None, 1, 1, None), seed=2)),
]


def states(model):
    return [
        layer.seed_generator.state for layer in model.layers if hasattr(layer, "seed_generator")
    ]


def compare(model, x, tolerance):
    """Two steps in training and one without, of the model and of what it is lowered to."""
    before = [state.numpy() for state in states(model)]
    expected = [model(x, training=mode) for mode in (True, True, False)]
    after = [state.numpy() for state in states(model)]
    for state, value in zip(states(model), before, strict=True):
        state.assign(value)
    training, evaluating = lower(model, True), lower(model, False)
    assert training.fallbacks == [] and evaluating.fallbacks == []
    outputs = [lowered.module(x) for lowered in (training, training, evaluating)]
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.dtype == theirs.dtype and relative(ours, theirs) <= tolerance
    for state, value in zip(states(model), after, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)
    assert not torch.equal(outputs[0], outputs[1])
    return training


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: type(case[1]()).__name__)
def test_a_layer_draws_what_keras_draws_and_counts_it(case, policy):
    keras.config.set_dtype_policy(policy)
    rank, make = case
    first = layers.Conv2D(4, 1) if rank == 4 else layers.Dense(4)
    model = keras.Sequential([keras.Input(SHAPES[rank]), first, make()])
    training = compare(model, torch.randn(5, *SHAPES[rank]), 1e-6 if policy == "float32" else 1e-2)
    assert training.changes_state


def test_draws_in_float64(true_float64):
    drops = [layers.AlphaDropout(0.3), layers.GaussianNoise(0.2), layers.Dropout(0.3, seed=1)]
    model = keras.Sequential([keras.Input((6, 4)), layers.Dense(4), *drops])
    compare(model, torch.randn(5, 6, 4, dtype=torch.float64), 1e-12)


def test_everything_may_be_dropped():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(1.0, seed=1)])
    before = states(model)[0].numpy()
    assert not lower(model, True).module(torch.randn(3, 4)).any()
    np.testing.assert_array_equal(states(model)[0].numpy(), before)


def test_a_generator_that_is_set_again_draws_the_same_again():
    layer = layers.Dropout(0.5, seed=1)
    model = keras.Sequential([keras.Input((40,)), layer])
    module, x = lower(model, True).module, torch.ones(2, 40)
    first, second = module(x), module(x)
    layer.seed_generator.state.assign([1, 0])
    assert torch.equal(module(x), first) and not torch.equal(first, second)


def test_the_count_that_is_kept_beside_a_device_follows_who_writes_to_it():
    class OnDevice(torch.Tensor):
        is_cpu = False

    state = torch.tensor([7, 0], dtype=torch.int32).as_subclass(OnDevice)
    assert [draws._next_seed(state) for _ in range(3)] == [7, 8, 9]
    state.copy_(torch.tensor([7, 0]))
    assert [draws._next_seed(state) for _ in range(2)] == [7, 8]
    assert state.tolist() == [7, 2]


def test_twenty_steps_with_every_kind_of_noise_equal_plain_keras():
    def trained(native):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.GaussianNoise(0.1),
                layers.Conv2D(4, 3),
                layers.SpatialDropout2D(0.2),
                layers.GaussianDropout(0.2),
                layers.Flatten(),
                layers.AlphaDropout(0.1),
                layers.Dropout(0.2, seed=1),
                layers.Dropout(0.2),
                layers.Dense(3),
            ]
        )
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        if native:
            keras_dawn.accelerate(model)
        random = np.random.default_rng(0)
        x, y = random.normal(size=(20, 8, 8, 3)), random.normal(size=(20, 3))
        model.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
        if native:
            assert keras_dawn.explain(model).fallbacks == []
        return model

    for one, other in zip(trained(True).variables, trained(False).variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def bn_relu(x):
    return layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(x)))


@pytest.mark.parametrize(
    "behind",
    [
        bn_relu,
        lambda x: layers.Conv2D(8, 3)(layers.MaxPooling2D()(x)),
        lambda x: layers.Dense(4)(layers.AveragePooling2D(2)(x)),
        lambda x: layers.LayerNormalization()(layers.MaxPooling2D()(x)),
        lambda x: layers.Concatenate()([layers.MaxPooling2D()(x)] * 2),
        lambda x: layers.Flatten()(layers.MaxPooling2D()(bn_relu(x))),
        lambda x: layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x)),
        lambda x: layers.ZeroPadding1D(1)(layers.Conv1D(4, 1)(layers.Reshape((36, 12))(x))),
    ],
)
def test_dropout_without_a_seed_drops_what_plain_keras_drops_behind(behind):
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, layers.Dropout(0.5)(behind(inputs)))
    module, x = keras_dawn.to_torch(model, training=True), torch.rand(3, 12, 12, 3) + 1
    found = []
    for call in (module, lambda x: model(x, training=True)):
        torch.manual_seed(0)
        found.append(call(x))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
