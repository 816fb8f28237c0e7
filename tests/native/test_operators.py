"""Operators and operations with arrays, tensors, variables and objects as operands."""

import keras_dawn
from keras_dawn.native import to_torch
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.conftest import relative
from tests.native.test_rules import assert_as_keras
from tests.on_device import torch

ROW = np.array([1.0, -2.0, 3.0])
IMAGES = (6, 5, 3)

NATIVE = {
    "array": lambda x: x * ROW,
    "array first": lambda x: ops.subtract(ROW, x),
    "array of an image": lambda x: x + np.arange(90.0).reshape(IMAGES),
    "array of rows": lambda x: x * np.arange(6.0).reshape(6, 1, 1),
    "integers": lambda x: x + np.array([1, 2, 3]) * 1.0,
    "tensor": lambda x: x / torch.tensor(ROW),
    "variable": lambda x: x * keras.Variable(ROW),
    "NumPy scalars": lambda x: ops.multiply(np.float32(2.5), x) - np.int64(3),
    "number first": lambda x: 1.5 - 2.0 / (x * x + 1.0),
    "power": lambda x: x**2 + 2.0**x,
    "negative and absolute": lambda x: -abs(x),
    "elementwise": lambda x: ops.exp(ops.sin(x)) + ops.sqrt(ops.square(x) + 1.0),
    "activations": lambda x: ops.sigmoid(x) + ops.relu(x),
    "slices": lambda x: x[:, 1:, ::2] + x[:, 1:, ::2],
    "indices": lambda x: x[:, -1][:, None] * x[..., 0][..., None],
    "numbers at most": lambda x: ops.maximum(ops.minimum(x, 0.5), -0.5),
    "largest of two": lambda x: ops.maximum(x, x * ROW),
    "infinity": lambda x: ops.maximum(x, float("-inf")),
    "range": lambda x: x + ops.arange(3, dtype="float64"),
    "gate of fewer axes": lambda x: x * layers.GlobalAveragePooling2D()(x)[:, None, None],
    "cast": lambda x: ops.cast(ops.cast(x, "float32"), "float64"),
}
IN_TORCH = {
    "where": lambda x: ops.where(x > 0, x, ops.convert_to_tensor(ROW)),
    "where a number": lambda x: ops.where(ops.logical_not(x > 0), x, 0.0),
    "matmul": lambda x: ops.matmul(x, np.ones((3, 2))),
    "einsum": lambda x: ops.einsum("bhwc,bhvc->bwv", x, x),
    "bool": lambda x: x * ops.cast((x > 0) & ops.logical_or(x < 1, ops.equal(x, 2)), "float64"),
    "several outputs": lambda x: ops.split(x, 3, axis=-1)[1] + x,
    "parts of sizes": lambda x: ops.split(x, [1], axis=-1)[1],
    "shape": lambda x: ops.reshape(x, (-1, 30, 3)),
    "axes": lambda x: ops.transpose(x, (0, 2, 1, 3)) + ops.swapaxes(x, 1, 2),
    "moved axis": lambda x: ops.moveaxis(x, 1, 2),
    "axes of one": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "broadcast": lambda x: x * ops.broadcast_to(ops.convert_to_tensor(ROW), (5, 3)),
    "reductions": lambda x: ops.sum(x, 1) + ops.max(x, 1) - ops.min(x, axis=1) + ops.mean(x),
    "joined": lambda x: ops.concatenate([x, ops.stack([x, x], 1)[:, 0]], axis=-1),
    "softmax": lambda x: ops.softmax(x) * ops.log_softmax(x, axis=1),
    "beside one number": lambda x: x * (ops.mean(x) / 0.1 + 3 * ops.sum(x) - ops.max(x) / 7),
    "activations": lambda x: ops.gelu(x) + ops.gelu(x, False) + ops.leaky_relu(x, 0.1),
    "stopped": lambda x: x * ops.stop_gradient(x),
}
BY_KERAS = {
    "take": lambda x: ops.take(x, np.array([0, 2]), axis=-1),
    "not a number": lambda x: ops.nan_to_num(x, nan=float("nan"), posinf=float("inf")),
    "slice of arrays": lambda x: ops.slice_update(x, [0, 0, 0, 0], np.zeros((1, 1, 1, 1))),
    "pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 0], [2, 0]], constant_values=0),
    "sorted": lambda x: ops.sort(x, axis=1) + ops.cumsum(x, axis=1),
    "norm": lambda x: ops.normalize(x) + ops.var(x, axis=-1, keepdims=True),
    "clipped": lambda x: ops.clip(x, -0.5, 0.5),
}
AS_THEY_ARE = {
    "mapped": lambda x: ops.vectorized_map(lambda row: row * 2.0, x),
}


def model_of(function, channels=3):
    x = keras.Input(IMAGES)
    y = layers.Conv2D(channels, 1, name="before")(x)
    return keras.Model(x, layers.Dense(2, name="after")(function(y)))


@pytest.mark.parametrize("name", NATIVE)
def test_everyday_operands_are_said_in_torch(name, true_float64, gradients_of):
    x = torch.randn(2, *IMAGES, dtype=torch.float64)
    assert_as_keras(model_of(NATIVE[name]), x, gradients_of=gradients_of)


@pytest.mark.parametrize("name", IN_TORCH | BY_KERAS)
def test_operations_are_native(name, true_float64, gradients_of):
    x = torch.randn(2, *IMAGES, dtype=torch.float64)
    model = model_of((IN_TORCH | BY_KERAS)[name])
    assert_as_keras(model, x, gradients_of=gradients_of)
    lowered = lower(model, training=True)
    assert not lowered.calls_keras and lowered.calls_operations == (name in BY_KERAS)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_other_operations_are_called_as_they_are(name, true_float64, gradients_of):
    model = model_of(AS_THEY_ARE[name])
    x = torch.randn(2, *IMAGES, dtype=torch.float64)
    (outputs, ours), (expected, theirs), lowered = gradients_of(model, x)
    assert relative(outputs[0], expected[0]) < 1e-11
    assert ours.keys() == theirs.keys()
    assert lowered.fallbacks


def test_a_quotient_of_integers_is_of_floats():
    x, y = (keras.Input((3,), dtype="int32") for _ in range(2))
    model = keras.Model([x, y], [x / y, ops.cast(ops.divide(x, y), "int32")])
    inputs = torch.tensor([[7, -7, 9]], dtype=torch.int32), torch.tensor([[2, 2, 3]]).int()
    for one, other in zip(to_torch(model)(*inputs), model(list(inputs)), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_number_counts_beside_one_number_as_in_keras(dtype):
    """Keras makes it a tensor in float32, unless something is divided by it."""
    x = keras.Input((3,), dtype=dtype)
    mean = ops.mean(x)
    model = keras.Model(x, [mean * 0.1, mean / 0.1, 3 * mean, mean + 0.1, mean**3, 1 / mean])
    batch = torch.rand(2, 3).to(getattr(torch, dtype)) + 0.5
    for one, other in zip(to_torch(model)(batch), model(batch), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


INF = float("inf")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x**0.5,
        lambda x: x**-0.5,
        lambda x: x**1e10,
        lambda x: (1e-8) ** x,
        lambda x: ops.sum(x, keepdims=True),
        lambda x: ops.max(x, keepdims=True),
        lambda x: ops.amin(x, keepdims=True),
        lambda x: ops.max(ops.sqrt(x - 3.0)),
        lambda x: ops.logical_and(x, 0.5),
        lambda x: ops.maximum(np.float32(0.1), x),
        lambda x: ops.minimum(x, np.float64(0.1)),
    ],
)
def test_numbers_at_the_edge_are_what_keras_makes_of_them(function, dtype):
    inputs = keras.Input((3,), dtype=dtype)
    model = keras.Model(inputs, function(inputs))
    x = torch.tensor([[-INF, -1.0, -0.0], [INF, 2.0, 2.0]]).to(getattr(torch, dtype))
    found = []
    for call in (model, to_torch(model)):
        x = x.detach().requires_grad_()
        y = call(x)
        gradients = torch.autograd.grad(y.sum(), x) if y.requires_grad else ()
        found.append((y, *gradients))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_constant_image_keeps_the_order_of_axes():
    model = model_of(lambda x: layers.Conv2D(3, 1)(x * ROW.astype("float32")))
    nodes = [node for node in to_torch(model).graph.nodes if node.target == "permute"]
    assert len(nodes) == 3  # the input and the constant into torch's order, and back once


def test_arrays_and_tensors_are_buffers_and_move_with_the_module():
    module = to_torch(model_of(lambda x: x * ROW + torch.tensor(ROW)))
    assert len(list(module.buffers())) == 2
    assert not module.state_dict().keys() & dict(module.named_buffers()).keys()


@pytest.mark.parametrize("name", ["lambda", "forward", "graph", "2 é/x", "名前"])
def test_any_name_of_a_variable_or_layer_can_be_an_attribute(name):
    x = keras.Input((3,))
    variable = keras.Variable(ROW.astype("float32"), name=name.replace("/", "_"))
    y = layers.Dense(3, name=name.replace("/", "_"))(x) * variable
    model = keras.Model(x, layers.PReLU(name=f"p {name}".replace("/", "_"))(y))
    inputs = torch.randn(2, 3)
    torch.testing.assert_close(to_torch(model)(inputs), model(inputs))


def test_a_variable_of_the_model_gets_its_gradient_and_another_one_does_not():
    own, foreign = (keras.Variable(ROW.astype("float32"), name=name) for name in ("own", "foreign"))
    x = keras.Input((3,))
    model = keras.Model(x, (x * own + 1.0) * foreign)
    model.own = own
    assert model.trainable_variables == [own]
    lowered = lower(model, training=True)
    lowered.module(torch.ones(2, 3)).sum().backward()
    (leaf,) = lowered.leaves.values()
    torch.testing.assert_close(leaf.tensor.grad, torch.tensor(2 * ROW, dtype=torch.float32))
    foreign.assign([0.0, 0.0, 0.0])
    assert not lowered.module(torch.ones(2, 3)).any()


def test_a_variable_is_read_in_the_models_compute_dtype():
    keras.config.set_dtype_policy("mixed_bfloat16")
    scale = keras.Variable([1.001, 1.0, 1.0], dtype="float32")
    x = keras.Input((3,))
    y = layers.Dense(3)(x) * scale
    model = keras.Model(x, ops.matmul(y, keras.Variable(np.eye(3), dtype="float32")))
    inputs = torch.randn(4, 3)
    ours, theirs = to_torch(model)(inputs), model(inputs)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert torch.equal(ours, theirs)


def test_an_accelerated_model_with_constants_trains_as_plain_keras_does():
    data = np.random.default_rng(0).normal(size=(8, *IMAGES)).astype("float32")
    losses = []
    for native in (False, True):
        keras.utils.set_random_seed(0)
        model = model_of(lambda x: ops.take(x * ROW.astype("float32"), np.array([0, 2]), axis=-1))
        model.compile("sgd", "mse")
        if native:
            keras_dawn.accelerate(model)
        targets = np.ones((8, 6, 5, 2), "float32")
        history = model.fit(data, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
