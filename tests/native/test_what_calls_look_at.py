"""What is changed in one layer later, a setting or a method, counts where Keras looks at it."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

RANDOM = np.random.default_rng(0)
STEPS = np.float32(RANDOM.normal(size=(4, 5, 4)))
STEPS[1, 3:] = STEPS[2, :2] = 0  # masked steps, at the end and at the beginning
IMAGES = np.float32(RANDOM.normal(size=(4, 5, 6, 3)))
TOKENS = RANDOM.integers(0, 5, (4, 5))
ONES = {"bias_initializer": "ones"}


def eye(*arguments, **masks):
    return ops.eye(5, dtype="bool")[None]


def normalization():
    layer = layers.Normalization()
    layer.build((None, 5, 4))  # in the first call of a subclassed model Keras keeps no numbers
    return layer


CHANGED = {
    "bias": (lambda: [layers.Conv2D(3, 2, **ONES)], {"use_bias": False}, IMAGES),
    "bias of each": (lambda: [layers.DepthwiseConv2D(2, **ONES)], {"use_bias": False}, IMAGES),
    "bias of both": (lambda: [layers.SeparableConv2D(3, 2, **ONES)], {"use_bias": False}, IMAGES),
    "transposed": (lambda: [layers.Conv2DTranspose(3, 2, **ONES)], {"use_bias": False}, IMAGES),
    "bias of a cell": (
        lambda: [layers.RNN(layers.LSTMCell(3, **ONES))],
        {"cell.use_bias": False},
        STEPS,
    ),
    "bias of gates": (
        lambda: [layers.RNN(layers.GRUCell(3, **ONES))],
        {"cell.use_bias": False},
        STEPS,
    ),
    "scale": (
        lambda: [layers.GroupNormalization(2, gamma_initializer="zeros")],
        {"scale": False},
        STEPS,
    ),
    "center": (
        lambda: [layers.GroupNormalization(2, beta_initializer="ones")],
        {"center": False},
        STEPS,
    ),
    "mode": (lambda: [layers.MaxPooling2D(2)], {"pool_mode": "average"}, IMAGES),
    "other mode": (lambda: [layers.AveragePooling2D(2)], {"pool_mode": "max"}, IMAGES),
    "mask of steps": (
        lambda: [layers.Conv1D(4, 1), layers.LSTM(3)],
        {"supports_masking": True},
        STEPS,
    ),
    "no mask": (lambda: [layers.Dense(4), layers.LSTM(3)], {"supports_masking": False}, STEPS),
    "no mask of states": (
        lambda: [layers.GRU(4, return_sequences=True), layers.LSTM(3)],
        {"supports_masking": False},
        STEPS,
    ),
    "no mask of tokens": (
        lambda: [layers.Embedding(5, 4, mask_zero=True), layers.LSTM(3)],
        {"supports_masking": False},
        TOKENS,
    ),
    "masks": (
        lambda: [layers.Dense(4), layers.LSTM(3)],
        {"compute_mask": lambda inputs, mask=None: None},
        STEPS,
    ),
    "states": (
        lambda: [layers.SimpleRNN(3)],
        {"get_initial_state": lambda batch_size: [ops.ones((batch_size, 3))]},
        STEPS,
    ),
    "states of a cell": (
        lambda: [layers.GRU(3)],
        {"cell.get_initial_state": lambda batch_size: [ops.ones((batch_size, 3))]},
        STEPS,
    ),
    "shape": (
        lambda: [layers.Reshape((4, 5)), layers.UnitNormalization(), layers.Flatten()],
        {"target_shape": (5, 4)},
        IMAGES[:, :, :4, 0],
    ),
    "mean": (lambda: [normalization()], {"mean": np.float32([0.5, 1.0, -1.0, 2.0])}, STEPS),
    "product": (
        lambda: [layers.Conv2D(2, 2)],
        {"convolution_op": lambda images, kernel: ops.conv(images, 2 * kernel)},
        IMAGES,
    ),
}


class ByLayer(keras.Model):
    """Python that is run in every step, around the layers."""

    def __init__(self, stack):
        super().__init__()
        self.stack, self.calls = stack, []

    def call(self, x):
        self.calls.append(len(self.calls))
        for layer in self.stack:
            x = layer(x)
        return x


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type")
@pytest.mark.parametrize("by_layer", [False, True], ids=["graph", "by layer"])
@pytest.mark.parametrize("name", CHANGED)
def test_what_is_changed_in_one_layer_counts_from_then_on(name, by_layer):
    make, changes, x = CHANGED[name]
    results = []
    for native in (False, True):
        keras.utils.set_random_seed(0)
        changed, *rest = make()
        masked = [layers.Masking()] if x is STEPS else []
        stack = [*masked, changed, *rest]
        model = ByLayer(stack) if by_layer else keras.Sequential(stack)
        model(torch.as_tensor(x))
        if native:
            keras_dawn.accelerate(model)
        before = model.predict(x, verbose=0)
        for path, value in changes.items():
            *owners, attribute = path.split(".")
            owner = changed
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, attribute, value)
        results.append((before, model.predict(x, verbose=0)))
    (_, *theirs), (_, *ours) = results
    if by_layer:  # a graph may have the masks that it was made with
        assert np.abs(results[0][0] - results[0][1]).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


METHODS = {
    "scores": lambda layer: setattr(
        layer, "_compute_attention", lambda query, key, value, *rest, **masks: (value, None)
    ),
    "masks": lambda layer: setattr(layer, "_compute_attention_mask", eye),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_one_attention_layer_that_was_replaced_is_called(name):
    keras.utils.set_random_seed(0)
    attention, x = layers.MultiHeadAttention(2, 3), keras.Input((5, 4))
    model = keras_dawn.accelerate(keras.Model(x, attention(x, x)))
    before = model.predict(STEPS, verbose=0)
    METHODS[name](attention)
    after = model.predict(STEPS, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    with torch.no_grad():
        expected = model(torch.as_tensor(STEPS)).cpu().numpy()
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)


def test_a_flatten_goes_by_what_it_was_told_when_it_was_made():
    flatten = layers.Flatten()
    model = keras_dawn.accelerate(keras.Sequential([keras.Input((5, 4)), flatten]))
    flatten.data_format = "channels_first"
    expected = model(torch.as_tensor(STEPS)).cpu().numpy()
    np.testing.assert_array_equal(model.predict(STEPS, verbose=0), expected)


@pytest.mark.parametrize("method", ["_clip_gradients", "_apply_weight_decay"])
def test_a_method_of_one_optimizer_that_was_replaced_is_called(method):
    results = []
    for native in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
        optimizer = keras.optimizers.Adam(0.1, weight_decay=0.5)
        mine = {
            "_clip_gradients": lambda gradients: [0 * gradient for gradient in gradients],
            "_apply_weight_decay": lambda variables: None,
        }
        setattr(optimizer, method, mine[method])
        model.compile(optimizer, "mse")
        if native:
            keras_dawn.accelerate(model)
        x = STEPS[:, 0]
        model.fit(x, x[:, :3], epochs=2, verbose=0)
        results.append(model.get_weights())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
