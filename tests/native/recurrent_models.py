"""Small recurrent models, and how they are compared with plain Keras."""

from keras_dawn.native.lowering import lower

import keras
import numpy as np
from keras import layers

from tests.native.conftest import relative
from tests.on_device import torch

STEPS, FEATURES = 7, 3


def of_one_layer(layer, masked=False):
    """A model of a dense layer, perhaps a mask of zeros, and one recurrent layer."""
    x = inputs = keras.Input((STEPS, FEATURES))
    x = layers.Masking()(x) if masked else layers.Dense(FEATURES, name="before")(x)
    return keras.Model(inputs, layer(x))


def batch(masked=False, size=4):
    """Sequences; with masked steps before, amid and after others, and one of nothing else."""
    x = torch.randn(size, STEPS, FEATURES, dtype=getattr(torch, keras.config.floatx()))
    if masked:
        x[0, 5:] = 0
        x[1, :2] = 0
        x[2, [1, 3, 6]] = 0
        x[3] = 0
    return x


def everything(call, variables, *inputs):
    """Outputs, gradients of inputs and of variables, and where the random numbers stand."""
    torch.manual_seed(3)
    inputs = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = keras.tree.flatten(call(*inputs))
    after = torch.get_rng_state()
    generator = torch.Generator().manual_seed(5)
    directions = [torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in outputs]
    total = sum((y * d).sum() for y, d in zip(outputs, directions, strict=True))
    of_inputs = [x for x in inputs if x.requires_grad]
    gradients = torch.autograd.grad(total, of_inputs + variables, allow_unused=True)
    return outputs, gradients, after


def assert_as_keras(model, *inputs, fallbacks=(), tolerance=1e-11):
    """The lowered model computes what the model does, in either mode."""
    states = [w.copy() for w in model.get_weights()]
    for training in (False, True):

        def keras_call(*inputs, training=training):
            return model(list(inputs) if len(inputs) > 1 else inputs[0], training=training)

        lowered = lower(model, training, collect_statistics=training)
        assert [layer.name for layer, _ in lowered.fallbacks] == list(fallbacks)

        def native_call(*inputs, lowered=lowered, training=training):
            outputs = lowered.module(*inputs)
            return outputs[0] if training or lowered.masked else outputs

        variables = [leaf.variable for leaf in lowered.leaves.values()]
        theirs = everything(keras_call, [v.value for v in variables], *inputs)
        leaves = [leaf.tensor for leaf in lowered.leaves.values()]
        ours = everything(native_call, leaves, *inputs)
        for one, other in zip(ours[0], theirs[0], strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            assert relative(one, other) < tolerance
        undone = [
            None if g is None else leaf.transform.undo(g, tuple(leaf.variable.shape))
            for g, leaf in zip(ours[1][-len(leaves) :], lowered.leaves.values(), strict=True)
        ]
        found = [*ours[1][: -len(leaves)], *undone]
        for one, other in zip(found, theirs[1], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert float((one - other).abs().max()) < tolerance * 10
        assert torch.equal(ours[2], theirs[2])
    for weight, before in zip(model.get_weights(), states, strict=True):
        np.testing.assert_array_equal(weight, before)


RECURRENT = {
    "LSTM": lambda **k: layers.LSTM(4, **k),
    "GRU": lambda **k: layers.GRU(4, **k),
    "GRU-before": lambda **k: layers.GRU(4, reset_after=False, **k),
    "SimpleRNN": lambda **k: layers.SimpleRNN(4, **k),
    "LSTMCell": lambda **k: layers.RNN(layers.LSTMCell(4), **k),
    "GRUCell": lambda **k: layers.RNN(layers.GRUCell(4), **k),
    "stack": lambda **k: layers.RNN(
        [layers.LSTMCell(4), layers.GRUCell(5), layers.SimpleRNNCell(3)], **k
    ),
}
