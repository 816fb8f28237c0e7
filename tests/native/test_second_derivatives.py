"""Second derivatives of recurrent layers on a kernel that can be derived once only.

That is cuDNN's, and on a processor one that stands in for it.
"""

import functools

from keras_dawn.native.lowering import lower
from keras_dawn.native.recurrent import kernels

import keras
import pytest
import torch
from keras import layers

from tests.native.recurrent_models import FEATURES, STEPS, batch


class Once(torch.autograd.Function):
    """A recurrent kernel as cuDNN's: its gradients have no derivative."""

    derived = 0

    @staticmethod
    def forward(ctx, compute, *inputs):
        ctx.set_materialize_grads(False)
        with torch.enable_grad():
            ctx.inputs = [tensor.detach().requires_grad_() for tensor in inputs]
            ctx.outputs = compute(*ctx.inputs)
        return tuple(output.detach() for output in ctx.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        given = [(o, g) for o, g in zip(ctx.outputs, gradients, strict=True) if g is not None]
        if not given:
            return None, *[None] * len(ctx.inputs)
        Once.derived += 1
        outputs, gradients = zip(*given, strict=True)
        return None, *torch.autograd.grad(outputs, ctx.inputs, gradients, retain_graph=True)


@pytest.fixture
def once(monkeypatch, true_float64):
    """On a processor `Once` computes what cuDNN does on a GPU."""
    if torch.cuda.is_available():
        return None

    def compute(kind, count, biased, bidirectional, *inputs):
        work = functools.partial(by_torch, kind, count, biased, bidirectional)
        return list(Once.apply(work, *inputs)) if torch.backends.cudnn.enabled else work(*inputs)

    by_torch = kernels._compute
    monkeypatch.setattr(kernels, "_compute", compute)
    monkeypatch.setattr(kernels, "_by_cudnn", lambda x: torch.backends.cudnn.enabled)
    monkeypatch.setattr(Once, "derived", 0)
    return Once


def one_layer(make, masked=False):
    x = inputs = keras.Input((STEPS, FEATURES))
    x = layers.Masking()(x) if masked else x
    return keras.Model(inputs, make()(x))


def of_its_own_inputs():
    """The initial state is made of the sequences that the layer reads."""
    inputs = keras.Input((STEPS, FEATURES))
    state = layers.Dense(4, activation="tanh")(inputs[:, 0])
    return keras.Model(inputs, layers.GRU(4, return_state=True)(inputs, initial_state=state))


MODELS = {
    "LSTM": lambda: one_layer(lambda: layers.LSTM(4, return_sequences=True)),
    "GRU": lambda: one_layer(lambda: layers.GRU(4)),
    "SimpleRNN": lambda: one_layer(lambda: layers.SimpleRNN(4, return_state=True)),
    "masked LSTM": lambda: one_layer(lambda: layers.LSTM(4, return_state=True), masked=True),
    "two directions": lambda: one_layer(lambda: layers.Bidirectional(layers.LSTM(4))),
    "a state of its own inputs": of_its_own_inputs,
}


def derivatives(call, variables, x, penalty):
    """Gradients of a loss, perhaps with a penalty on the gradient of the inputs in it."""
    x = x.clone().requires_grad_()
    loss = sum(output.square().sum() for output in keras.tree.flatten(call(x)))
    if penalty:
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        loss = loss + slope.square().sum()
    return torch.autograd.grad(loss, [x, *variables])


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_penalty_on_gradients_through_a_kernel_that_is_derived_once(
    name, penalty, once, monkeypatch
):
    model, x = MODELS[name](), batch(name.startswith("masked"))
    lowered = lower(model, training=False)
    leaves = list(lowered.leaves.values())
    found = derivatives(lowered.module, [leaf.tensor for leaf in leaves], x, penalty)
    assert once is None or once.derived == 1  # what is not derived again is the kernel's
    assert torch.backends.cudnn.enabled
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)  # plain Keras can do it so, too
    expected = derivatives(model, [leaf.variable.value for leaf in leaves], x, penalty)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-11)
    for leaf, ours, theirs in zip(leaves, found[1:], expected[1:], strict=True):
        ours = leaf.transform.undo(ours, tuple(leaf.variable.shape))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_frozen_weights_and_graphs_that_are_kept(once):
    model = MODELS["GRU"]()
    model.trainable = False
    x = batch().requires_grad_()
    output = lower(model, training=False).module(x).sum()
    (first,) = torch.autograd.grad(output, x, retain_graph=True)
    (again,) = torch.autograd.grad(output, x, create_graph=True)
    torch.testing.assert_close(first, again)
    (second,) = torch.autograd.grad(again.square().sum(), x)
    assert second.abs().sum() > 0
