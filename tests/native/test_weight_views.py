"""Views of weights in half precision are taken once, of the copy: the same bits."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps import half_weights, sized_forward
from keras_dawn.native.steps.weight_views import WeightViews

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import on_processor, torch

X = np.random.default_rng(0).normal(size=(12, 6, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(12, 6, 8)).astype("float32")


class Block(layers.Layer):
    """Heads by products over several axes, of a batch that is asked for its sizes."""

    def __init__(self, uses=1):
        super().__init__()
        self.heads = layers.EinsumDense("btf,fhd->bthd", (None, 2, 4), bias_axes="hd")
        self.joined = layers.EinsumDense("bthd,hdf->btf", (None, 8), bias_axes="f")
        self.uses = uses

    def build(self, shape):
        self.heads.build(shape)
        self.joined.build((*shape[:-1], 2, 4))

    def call(self, x):
        for _ in range(self.uses):
            batch, steps, width = ops.shape(x)
            heads = ops.reshape(self.heads(x), (batch, steps, 2, 4))
            x = x + ops.reshape(self.joined(heads), (batch, steps, width))
        return x


def trained(uses, policy="mixed_bfloat16"):
    """What was predicted and learned, and the code of both modes."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, Block(uses)(layers.Dense(8)(inputs)))
    keras.config.set_dtype_policy("float32")
    model.compile("adam", "mse")
    keras_dawn.accelerate(model)
    found = model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"]
    found = [found, model.predict(X, batch_size=4, verbose=0)]
    model.set_weights([0.75 * weight for weight in model.get_weights()])
    found += [model.predict(X, batch_size=4, verbose=0), model.predict(X[:, :3], verbose=0)]
    model.fit(X[:, :5], Y[:, :5], batch_size=4, epochs=2, shuffle=False, verbose=0)
    forward = engine_of(model).steps.forward
    assert type(forward) is sized_forward.SizedForward
    codes = {key[0]: lowered.module.code for key, (_, lowered, _) in forward._known.items()}
    return [*found, *model.get_weights()], codes


class Views(torch.nn.Module):
    """Looks at one weight in three ways, of which one copies it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))

    def forward(self, x):
        turned, copied, whole = (self.weight.to(torch.bfloat16) for _ in range(3))
        turned = turned.permute(1, 0)
        return x + turned, x + copied.permute(1, 0).flatten(0, 1).view(3, 2), x.t() + whole


@on_processor
def test_each_way_to_look_at_a_weight_follows_it_and_what_copies_it_stays_in_the_graph():
    module = torch.fx.symbolic_trace(Views())
    halves = half_weights.HalfWeights(module, training=False)
    assert "permute(" not in module.code and "flatten(" in module.code
    with torch.no_grad():
        module.weight.neg_()
    halves.refresh()
    x = torch.zeros(3, 2, dtype=torch.bfloat16)
    turned, copied, whole = (found.float() for found in module(x))
    assert torch.equal(turned, module.weight.t()) and torch.equal(copied, module.weight.t())
    assert torch.equal(whole, module.weight)


@on_processor
@pytest.mark.parametrize("uses", [1, 2])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_training_and_predictions_are_the_same_to_the_bit(uses, policy, monkeypatch):
    found, codes = trained(uses, policy)
    monkeypatch.setattr(half_weights, "views_after", lambda node, _: WeightViews(node, []))
    expected, others = trained(uses, policy)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "permute(" in others[True] and "permute(" in others[False]
    # Weights that are used twice are cast in the graph in training.
    assert ("permute(" in codes[True], "permute(" in codes[False]) == (uses == 2, False)
