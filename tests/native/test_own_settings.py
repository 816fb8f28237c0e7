"""Layers of one's own are lowered with what they hold and are called with."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import ops

from tests.native.own_calls import Own, Setter, build, called, close, data, follows, train
from tests.on_device import torch

# Of layers that a `call` leaves out; plain Keras warns as ours does.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


def own(call):
    """A layer class with this `call`, and with weights of its own if it reads them."""

    def build(self, shape):
        Own.build(self, shape)
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.fixed = self.add_weight(shape=(1, shape[-1]), initializer="ones", trainable=False)

    members = {"call": call, "build": build} if call is with_weights else {"call": call}
    return type("Own", (Own,), members)


def with_weights(self, x):
    return self.dense(x) * self.gain + ops.square(self.fixed) * ops.sum(self.gain)


def with_tensors(self, x):
    return self.dense(x) * ops.exp(self.factors) / self.number


def of_the_batch(self, x):
    return self.dense(x) / ops.shape(x)[0]


def compares_the_batch(self, x):
    return self.dense(x) * 2.0 if ops.shape(x)[0] == 8 else self.dense(x)


def as_long_as_the_batch(self, x):
    places = ops.cast(ops.arange(ops.shape(x)[0]), x.dtype)
    return self.dense(x) * ops.reshape(places, (-1, 1, 1))


def past_a_doubt(self, x):
    if self.debug:
        self.calls += 1
    if self.calls > 100:
        print("many calls")
    return self.dense(x) * (1.0 + self.calls)


def in_place_on_its_own(self, x):
    scores = ops.matmul(self.dense(x), ops.transpose(self.other(x), (0, 2, 1)))
    scores += 1.0
    scores = ops.softmax(scores)
    number = 1
    number += 2
    return ops.tanh(ops.matmul(scores, x) * number)


def fills_a_dict(self, x):
    found = {}
    for name, layer in zip(("a", "b"), (self.dense, self.other), strict=True):
        found[name] = layer(x)
    return ops.tanh(found["a"]) * ops.tanh(found["b"])


def drops(self, x, training=None):
    return self.drop(self.dense(x), training=training) * ops.shape(x)[0]


def reads_a_dtype(self, x):
    return ops.cast(self.dense(x), self.compute_dtype) * 2 if self.scale == 2.0 else x


LOWERED = [
    with_weights, with_tensors, of_the_batch, compares_the_batch, as_long_as_the_batch,
    past_a_doubt, in_place_on_its_own, fills_a_dict, drops, reads_a_dtype,
]  # fmt: skip


@pytest.mark.parametrize("call", LOWERED, ids=lambda call: call.__name__)
@pytest.mark.parametrize("subclassed", [False, True], ids=["graph", "subclassed"])
def test_what_holds_for_these_sizes_is_lowered(call, subclassed, true_float64):
    model = follows(own(call), subclassed)
    assert called(model) == [] and keras_dawn.explain(model).layers["Own"] == 1


def changes_what_it_reads(self, x):
    y = ops.reshape(x, ops.shape(x))
    y += 1.0
    return self.dense(x) + y


def changes_what_it_returns(self, x):
    y = self.dense(x) + 1.0
    z = y
    z += 1.0
    return y * z


@pytest.mark.parametrize("call", [changes_what_it_reads, changes_what_it_returns])
def test_an_operator_in_place_that_others_see_is_not_lowered(call, true_float64):
    model = follows(own(call), subclassed=True)
    assert "Own" not in keras_dawn.explain(model).layers


def replace_the_tensor(layer):
    layer.factors = layer.factors * 0.5


def write_to_the_tensor(layer):
    layer.factors.mul_(0.5)


def assign_the_weight(layer):
    layer.fixed.assign(layer.fixed * 0.5)


def set_the_scale(layer):
    layer.scale += 1.0


def with_a_scale(self, x):
    return self.dense(x) * self.scale


def with_a_default(self, x, factor=2.0):
    return self.dense(x) * factor


def set_the_default(layer):
    type(layer).call.__defaults__ = (0.5,)


def with_a_list_in_a_tuple(self, x):
    return self.dense(x) * self.nested[1][0]


def with_a_list_in_a_dict(self, x):
    return self.dense(x) * self.table["factors"][0]


def change_what_is_nested(layer):
    layer.nested[1][0] *= 0.5
    layer.table["factors"][0] *= 0.5


def begin_to_count(layer):
    layer.debug = True


@pytest.mark.parametrize(
    ("call", "change"),
    [
        (with_tensors, replace_the_tensor),
        (with_tensors, write_to_the_tensor),
        (with_weights, assign_the_weight),
        (with_a_scale, set_the_scale),
        (past_a_doubt, begin_to_count),
        (with_a_default, set_the_default),
        (with_a_list_in_a_tuple, change_what_is_nested),
        (with_a_list_in_a_dict, change_what_is_nested),
    ],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("subclassed", [False, True], ids=["graph", "subclassed"])
def test_a_change_counts_from_the_next_step_on(call, change, subclassed, true_float64):
    def change_own(model):
        change(next(layer for layer in model._flatten_layers() if isinstance(layer, Own)))

    results, defaults = [], call.__defaults__
    for accelerated in (False, True):
        call.__defaults__ = defaults
        model = build(own(call), subclassed)
        if accelerated:
            keras_dawn.accelerate(model)
        results.append(train(model, callbacks=[Setter(change_own)]))
    call.__defaults__ = defaults
    close(*results)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_weights_are_read_in_the_dtype_of_the_layer(policy):
    keras.config.set_dtype_policy(policy)
    model, x = build(own(with_weights)), data()[0].astype("float32")
    expected = model(torch.tensor(x))
    found = keras_dawn.to_torch(model)(torch.tensor(x))
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_many_sizes_end_in_the_layer_itself(true_float64):
    model = keras_dawn.accelerate(build(own(of_the_batch), subclassed=True))
    for count in range(1, 20):
        x = data(count)[0]
        np.testing.assert_allclose(model.predict_on_batch(x), model(x).detach().cpu(), rtol=1e-10)
