"""torch's functions in a `call` of one's own, lowered with the layers around them."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
import torch.nn.functional as F
from keras import layers, ops

from tests.native.conftest import relative
from tests.native.own_calls import Called
from tests.on_device import torch


class Mixed(layers.Layer):
    """Gated, normalised and concatenated by torch's functions, with a weight of its own."""

    def __init__(self):
        super().__init__()
        self.gate, self.dense = layers.Dense(4), layers.Dense(4)

    def build(self, shape):
        self.scale = self.add_weight(shape=(4,), initializer="ones")

    def call(self, x):
        y = F.silu(self.gate(x)) * torch.sigmoid(self.dense(x))
        y = torch.cat([y, torch.mul(x, self.scale)], dim=-1)
        y = F.softmax(torch.reshape(y, (-1, 2, 4)), dim=-1)
        return torch.mean(y, 1, keepdim=False) + ops.tanh(F.gelu(x, approximate="tanh"))


def model_of(layer):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(layer(layers.Dense(4)(x))))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_functions_of_torch_are_lowered_and_give_the_same(policy, gradients_of):
    keras.config.set_dtype_policy(policy)
    model = model_of(Mixed())
    model.layers[2].scale.assign([1.0, 2.0, 3.0, 4.0])
    (outputs, gradients), (expected, their_gradients), lowered = gradients_of(
        model, torch.randn(6, 4)
    )
    assert lowered.fallbacks == [] and not lowered.calls_keras
    tolerance = 1e-6 if policy == "float32" else 2e-2
    assert outputs[0].dtype == expected[0].dtype
    assert relative(outputs[0], expected[0]) < tolerance
    assert gradients.keys() == their_gradients.keys()
    for path, gradient in their_gradients.items():
        assert relative(gradients[path], gradient) < 10 * tolerance, path


def test_a_training_equals_plain_keras():
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")

    def trained(native):
        keras.utils.set_random_seed(0)
        model = model_of(Mixed())
        model.compile("adam", "mse")
        if native:
            keras_dawn.accelerate(model)
        model.fit(x, x[:, :3], batch_size=16, epochs=3, shuffle=False, verbose=0)
        return model

    plain, native = trained(False), trained(True)
    assert keras_dawn.explain(native).is_whole()
    for one, other in zip(native.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.relu_(x + 0.0),
        lambda x: F.relu(x + 0.0, inplace=True),
        lambda x: F.dropout(x, 0.5),
        lambda x: torch.exp(x) + torch.randn(4),
        lambda x: torch.add(x, x, out=torch.empty(0)),
        lambda x: torch.sum(x, dim=-1, keepdim=True) * x.mean(),
        lambda x: torch.mul(x, float(x.sum())),
    ],
    ids=["relu_", "inplace", "dropout", "randn", "out", "method", "number"],
)
def test_whatever_else_of_torch_is_called_as_it_is(function):
    layer = Called(function)
    lowered = lower(model_of(layer), False)
    assert [one for one, _ in lowered.fallbacks] == [layer]


def test_symbolic_tensors_are_as_before_afterwards():
    lower(model_of(Mixed()), False)
    assert not hasattr(keras.KerasTensor, "__torch_function__")
    with pytest.raises(TypeError):
        torch.tanh(keras.KerasTensor((2, 3)))


def test_the_first_argument_may_be_given_by_its_name():
    model = model_of(Called(lambda x: torch.amax(input=torch.relu(input=x), dim=1, keepdim=True)))
    lowered, x = lower(model, False), torch.randn(6, 4)
    assert lowered.fallbacks == []
    torch.testing.assert_close(lowered.module(x), model(x))
