"""Calls of layers with Python of their own, against what `keras.Layer.__call__` does."""

import warnings

import keras_dawn
from keras_dawn.foundation import keras_context, keras_masks
from keras_dawn.foundation.keras_layer_call import KNOWN, ShortCall, is_ordinary
from keras_dawn.native.steps.by_layer import NativeLayers

import keras
import pytest
from keras import layers

from tests.on_device import torch

pytestmark = pytest.mark.skipif(not KNOWN, reason="this Keras calls its layers otherwise")


class Probe(layers.Layer):
    """Notes in what context its `call` runs."""

    def __init__(self, inner=None, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner
        self.seen = []

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x, training=None):
        context = keras_context.current_call_context()
        path = keras.Variable(0.0, name="made", trainable=False).path
        read = keras.ops.convert_to_tensor(self.scale)
        self.seen.append((training, context.training, path, read.dtype, x.dtype, type(context)))
        x = x * self.scale
        return x if self.inner is None else self.inner(x)


class Silent(layers.Layer):
    """Without a `training` argument: hands the mode on. Its Python is more than layers."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return self.inner(torch.as_tensor(x))


class Two(layers.Layer):
    def call(self, x, other=None, mask=None, other_mask=None, training=False):
        assert mask is None and other_mask is None
        return x if other is None else x - 2 * other, training


@pytest.fixture
def short(monkeypatch):
    """How many calls took the short way."""
    taken = []
    run = ShortCall.__call__

    def counted(self, *args):
        taken.append(self.layer)
        return run(self, *args)

    monkeypatch.setattr(ShortCall, "__call__", counted)
    return taken


class Holder(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, *args, **kwargs):
        return self.layer(*args, **kwargs)


def natively(layer, *args, **kwargs):
    with NativeLayers(Holder(layer)).in_place():
        return layer(*args, **kwargs)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64", "bfloat16"])
@pytest.mark.parametrize("told", [{}, {"training": True}, {"training": False}])
@pytest.mark.parametrize("outer", [False, True])
def test_context_of_a_call_is_kerass(policy, told, outer, short):
    inner = Probe(layers.Dropout(0.5, dtype=policy), dtype=policy, name="probe")
    layer = Silent(inner, dtype=policy, name="silent") if outer else inner
    x = torch.ones(4, 3, dtype=getattr(torch, inner.compute_dtype))
    layer(x)
    inner.seen.clear()
    keras.utils.set_random_seed(0)
    expected = layer(x, **told)
    keras.utils.set_random_seed(0)
    inner.inner.seed_generator.state.assign(inner.inner.seed_generator.state - [0, 1])
    found = natively(layer, x, **told)
    plain, native = inner.seen
    assert native == plain
    assert len(short) == 1 + outer
    assert torch.equal(found == 0, expected == 0)
    assert "/" not in keras.Variable(0.0, name="made").path  # no scope is left open
    assert keras_context.current_call_context() is None


def test_losses_of_the_step_before_are_dropped_as_keras_drops_them(short):
    class Adds(layers.Layer):
        def call(self, x):
            self.add_loss(x.sum())
            return x

    layer = Silent(Adds())
    x = torch.ones(2, 2)
    for _ in range(3):
        layer(x)
    assert len(layer.losses) == 1
    for _ in range(3):
        natively(layer, x)
    assert len(layer.losses) == 1 and len(short) == 6


def test_several_tensors_and_the_default_mode(short):
    layer = Two()
    x, other = torch.ones(2, 2), torch.full((2, 2), 3.0)
    layer(x, other)
    found, training = natively(layer, x, other)
    assert torch.equal(found, layer(x, other)[0]) and training is False
    assert natively(layer, x, training=True)[1] is True
    assert len(short) == 2


def test_lists_of_tensors(short):
    class Sums(layers.Layer):
        """Its Python is more than layers, and changes the list that it gets."""

        def call(self, tensors, training=None):
            tensors.append(torch.ones(2, 2))
            return sum(tensors), training

    class Masked(Sums):
        def call(self, tensors, mask=None):
            return mask

    tensors = [torch.ones(2, 2), torch.full((2, 2), 3.0)]
    layer, masked = Sums(), Masked()
    layer(tensors), masked(tensors)
    found, training = natively(layer, tensors, training=True)
    assert found.sum() == 20 and training is True and len(tensors) == 2 and len(short) == 1
    assert natively(masked, tensors) == masked(tensors) == [None, None]
    keras_masks.attach_mask(tensors[1], torch.ones(2, dtype=torch.bool))
    with pytest.warns(UserWarning, match="does not support masking"):
        natively(layer, tensors)
    assert len(short) == 1


def test_an_error_says_what_keras_says(short):
    class Fails(layers.Layer):
        def call(self, x, training=None):
            raise ValueError("nothing to see")

    layer = Fails()
    layer.built = True
    layer._parent_path = ""
    messages = []
    for call in (layer, lambda *a, **k: natively(layer, *a, **k)):
        with pytest.raises(ValueError, match="nothing to see") as error:
            call(torch.ones(2, 2), training=True)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert len(short) == 1
    assert keras_context.current_call_context() is None


@pytest.mark.parametrize("unusual", ["mask", "numpy", "dtype", "hook", "regularizer", "unbuilt"])
def test_unusual_calls_are_kerass_own(unusual, short):
    layer = Probe(name="probe")
    x = torch.ones(2, 3)
    if unusual != "unbuilt":
        layer(x)
    if unusual == "mask":
        keras_masks.attach_mask(x, torch.ones(2, dtype=torch.bool))
    elif unusual == "numpy":
        x = x.cpu().numpy()
    elif unusual == "dtype":
        x = x.double()
    elif unusual == "hook":
        layer.register_forward_hook(lambda *_: torch.zeros(2, 3))
    elif unusual == "regularizer":
        layer.activity_regularizer = keras.regularizers.L2(1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a mask that is destroyed
        found = natively(layer, x)
    assert not short
    assert found.sum() == (0 if unusual == "hook" else 6) and found.dtype == torch.float32
    if unusual == "regularizer":
        assert layer.losses


def test_a_call_that_is_replaced_is_used(short, monkeypatch):
    layer = Silent(layers.ReLU())
    x = -torch.ones(2, 2)
    layer(x)
    holder = Holder(layer)
    native = NativeLayers(holder)
    with native.in_place():
        assert layer(x).sum() == 0
        layer.call = lambda x: x
        assert layer(x).sum() == -4
        del layer.call
        assert layer(x).sum() == 0
        monkeypatch.setattr(Silent, "call", lambda self, x: x)
        assert layer(x).sum() == -4
    assert len(short) == 3


def test_classes_that_do_more_are_left_to_keras():
    class Masks(Probe):
        def compute_mask(self, inputs, previous_mask):
            return torch.ones(len(inputs), dtype=torch.bool)

    class Calls(layers.Layer):
        def __call__(self, x):
            return super().__call__(x + 1)

    assert not is_ordinary(Calls())
    masks, x = Masks(), torch.ones(2, 2)
    assert keras_masks.mask_of(masks(x)) is not None
    assert is_ordinary(masks) and not ShortCall(masks).suits((x,), {})
    assert not is_ordinary(layers.LSTM(2))
    assert is_ordinary(Probe())


def test_a_block_of_ones_own_trains_as_in_plain_keras(short, true_float64):
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense, self.drop = layers.Dense(4, "relu"), layers.Dropout(0.2, seed=3)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x, training=None):
            return x.add(self.drop(self.dense(x), training=training))  # a method is not lowered

    def trained(accelerated):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), Block(), Block(), layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        x = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(16, 4)
        losses = model.fit(x, x[:, :1], epochs=3, batch_size=4, shuffle=False, verbose=0)
        return losses.history["loss"]

    assert trained(True) == pytest.approx(trained(False), rel=1e-10)
    assert short
