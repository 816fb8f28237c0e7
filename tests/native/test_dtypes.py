"""Whole numbers, bools and mixed floating-point dtypes become what Keras makes of them."""

from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.trained import assert_trains_alike
from tests.on_device import ON_GPU, torch

INPUTS = {
    "uint8": lambda shape: torch.randint(0, 255, shape, dtype=torch.uint8),
    "int32": lambda shape: torch.randint(-5, 5, shape, dtype=torch.int32),
    "int64": lambda shape: torch.randint(-5, 5, shape, dtype=torch.int64),
    "bool": lambda shape: torch.rand(shape) > 0.5,
    "float16": lambda shape: torch.randn(shape, dtype=torch.float16),
    "float32": torch.randn,
    "float64": lambda shape: torch.randn(shape, dtype=torch.float64),
}
LAYERS = {
    "dense": lambda: layers.Dense(4, activation="relu"),
    "batch norm": layers.BatchNormalization,
    "layer norm": layers.LayerNormalization,
    "rescaling": lambda: layers.Rescaling(1 / 127.5, offset=-1.0),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0]),
    "embedding": lambda: layers.Embedding(300, 3),
    "masking": layers.Masking,
    "identity in whole numbers": lambda: layers.Identity(dtype="int32"),
    "padding": lambda: layers.ZeroPadding2D(1),
    "flat": layers.Flatten,
    "mean": layers.GlobalAveragePooling2D,
    "maximum": layers.GlobalMaxPooling2D,
    "relu": layers.ReLU,
    "leaky": lambda: layers.LeakyReLU(0.1),
    "softmax": layers.Softmax,
    "activation": lambda: layers.Activation("tanh"),
    "up": lambda: layers.UpSampling2D(2),
    "dropout": lambda: layers.Dropout(0.5),
    "float32 layer norm": lambda: layers.LayerNormalization(dtype="float32"),
    "float64 batch norm": lambda: layers.BatchNormalization(dtype="float64"),
    "no autocast": lambda: layers.Dense(2, autocast=False, dtype="float32"),
}
OPERATIONS = {
    "sum": lambda x, y: layers.Add()([x, y]),
    "difference": lambda x, y: layers.Subtract()([x, y]),
    "product": lambda x, y: layers.Multiply()([x, y]),
    "mean": lambda x, y: layers.Average()([x, y, x]),
    "maximum": lambda x, y: layers.Maximum()([x, y]),
    "minimum": lambda x, y: layers.Minimum()([y, x]),
    "side by side": lambda x, y: layers.Concatenate()([x, y]),
    "operators": lambda x, y: x * y + 2,
    "division": lambda x, y: x / (y + 10),
    "power": lambda x, y: x**2,
    "largest": lambda x, y: ops.maximum(x, y),
    "whole array": lambda x, y: x * np.array([1, 2, 3]),
    "float64 array": lambda x, y: x * np.array([0.1, 0.2, 0.3]),
    "float and whole": lambda x, y: 0.1 * x + y,
    "slice": lambda x, y: x[:, 1:],
}


def compared(function, model, inputs):
    """The outputs, or the kind of error."""
    try:
        return function(model, inputs)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError) as error:
        return type(error)


def assert_same(model, *inputs):
    call = inputs[0] if len(inputs) == 1 else list(inputs)
    expected = compared(lambda m, x: m(x), model, call)
    found = compared(lambda m, x: lower(m, False, masks=False).module(*inputs), model, call)
    if isinstance(expected, type):
        assert isinstance(found, type)
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    # In float64 the graph computes in float64, where Keras goes by way of float32.
    close = {torch.float16: 1e-2, torch.bfloat16: 2e-2}.get(expected.dtype, 2e-6)
    absolute = close
    if ON_GPU:  # whose sums come in other orders, of numbers up to 255 · 3
        absolute *= max(1.0, float(expected.detach().double().nan_to_num(0, 0, 0).abs().max()))
    if ON_GPU and any(tensor.dtype == torch.float16 for tensor in inputs):
        # There a number of Keras's beside such a tensor is rounded to float16.
        close, absolute = max(close, 1e-3), max(absolute, 1e-3)
    torch.testing.assert_close(found, expected, rtol=close, atol=absolute, equal_nan=True)


@pytest.mark.parametrize("dtype", INPUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_one_layer(name, dtype):
    shape = (2, 4, 5, 3)
    try:
        x = keras.Input(shape[1:], dtype=dtype)
        model = keras.Model(x, LAYERS[name]()(x))
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        pytest.skip("plain Keras refuses it when the model is made")
    assert_same(model, INPUTS[dtype](shape))


@pytest.mark.parametrize(
    "dtypes", ["uint8 float32", "int64 int64", "float16 float64", "bool int32"]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_two_tensors(name, dtypes):
    one, other = dtypes.split()
    x, y = keras.Input((4, 3), dtype=one), keras.Input((4, 3), dtype=other)
    try:
        joined = OPERATIONS[name](x, y)
        model = keras.Model([x, y], ops.cast(layers.Dense(2)(joined), "float32"))
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        pytest.skip("plain Keras refuses it when the model is made")
    assert_same(model, INPUTS[one]((2, 4, 3)), INPUTS[other]((2, 4, 3)))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_a_model_of_many_dtypes(policy):
    keras.config.set_dtype_policy(policy)
    x = keras.Input((6, 6, 3), dtype="uint8")
    y = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    y = layers.Conv2D(4, 3, activation="squareplus")(y)
    y = layers.LayerNormalization(dtype="float32")(y)
    y = layers.BatchNormalization()(layers.ReLU(max_value=1.5)(y))
    y = ops.cast(y, "float32") * np.array([0.1, 0.2, 0.3, 0.4])
    y = layers.LayerNormalization()(layers.Dense(4)(y) + 0.1)
    y = layers.Concatenate(dtype="float32")([y, layers.Conv2D(2, 1, dtype="float32")(y)])
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
    assert_same(model, INPUTS["uint8"]((2, 6, 6, 3)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_the_highest_of_large_images_of_whole_numbers(dtype):
    x = keras.Input((200, 200, 3), dtype=dtype)
    model = keras.Model(x, layers.MaxPooling2D(3, padding="same")(x))
    assert_same(model, torch.randint(0, 100, (1, 200, 200, 3)).to(dtype))


@pytest.mark.parametrize(
    "inside",
    [
        lambda: [layers.Dense(3), layers.Dense(2, autocast=False)],
        lambda: [layers.Conv1D(2, 3, autocast=False)],
        lambda: [layers.LSTM(2, autocast=False)],
    ],
)
def test_what_a_layer_is_not_to_cast_stays_what_it_is(inside):
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert_same(keras.Sequential([keras.Input((4, 3)), *inside()]), torch.randn(5, 4, 3))


def test_what_an_operation_really_returns_is_what_counts_downstream():
    class Surprise(layers.Layer):
        def call(self, x):
            return x.to(torch.float64)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, "float32")

    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(Surprise()(x)) * 2.0))
    assert_same(model, torch.randn(4, 3))


def test_embedding_of_negative_indices_counts_from_the_end():
    model = keras.Sequential([keras.Input((3,)), layers.Embedding(7, 2)])
    indices = torch.tensor([[-1.0, 2.9, -7.0]])
    assert torch.equal(lower(model, False).module(indices), model(indices))


def test_half_precision_taken_wide_and_back_is_the_value_itself():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3), inner])
    nodes = [node for node in lower(model, False).module.graph.nodes if node.target == "to"]
    assert len(nodes) == 5  # the input, two kernels and two biases


def test_another_default_dtype_of_torch_changes_draws_and_nothing_else_as_in_keras():
    def build():
        dense = [layers.Dense(8), layers.Dropout(0.4, seed=1), layers.Dense(2)]
        model = keras.Sequential([keras.Input((6,)), *dense])
        inner = keras.optimizers.Adam()
        model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0), "mse")
        return model

    x, y = np.random.default_rng(0).normal(size=(2, 8, 6)).astype("float32")
    torch.set_default_dtype(torch.float64)
    try:
        explanation = assert_trains_alike(build, x, y[:, :2], 1e-5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert explanation.is_whole()
