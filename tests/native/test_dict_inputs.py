"""A model of one's own that is called with a dict of tensors is native, as with a list of them."""

import keras_dawn

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(8, 6)).astype("float32")
B = RANDOM.normal(size=(8, 6)).astype("float32")
WORDS = RANDOM.integers(0, 7, (8, 6))
Y = RANDOM.normal(size=(8, 1)).astype("float32")


class Model(keras.Model):
    """Calls a function with a layer and its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.dense = layers.Dense(1)
        self.look_up = layers.Embedding(7, 6, mask_zero=True, trainable=False)
        self.look_up.build((None, 6))

    def call(self, x):
        return self.function(self.dense, self.look_up, x)


def by_name(dense, look_up, x):
    return dense(x["a"]) - dense(x["b"]) * 2.0


def in_order(dense, look_up, x):
    total = ops.zeros_like(x["a"])
    for part in x.values():
        total = total * 2.0 + part
    return dense(total)


def of_words(dense, look_up, x):
    return dense(ops.mean(look_up(x["words"]), axis=1)) + dense(x["a"])


def nested(dense, look_up, x):
    first, second = x["pair"]
    return dense(first) * 2.0 + dense(second["b"])


def optional(dense, look_up, x):
    return dense(x["a"]) + (dense(x["b"]) * 3.0 if "b" in x else 1.0)


CASES = {
    "by name": (by_name, {"a": A, "b": B}),
    "by name in another order": (by_name, {"b": B, "a": A}),
    "in order": (in_order, {"a": A, "b": B}),
    "in another order": (in_order, {"b": B, "a": A}),
    "of words": (of_words, {"words": WORDS, "a": A}),
    "nested": (nested, {"pair": (A, {"b": B}), "again": A}),
    "optional": (optional, {"a": A, "b": B}),
    "without the optional one": (optional, {"a": A}),
}


def trained(function, x, accelerated):
    keras.utils.set_random_seed(0)
    model = Model(function)
    model.compile("sgd", "mse")
    if accelerated:
        keras_dawn.accelerate(model)
    losses = model.fit(x, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    return model, [*losses, model.predict(x, verbose=0), model.evaluate(x, Y, verbose=0)]


@pytest.mark.parametrize("name", CASES)
def test_a_dict_of_tensors_is_native_and_computes_as_in_keras(name):
    function, x = CASES[name]
    _, expected = trained(function, x, False)
    model, found = trained(function, x, True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    explanation = keras_dawn.explain(model)
    assert explanation.python is None and not explanation.fallbacks


def test_batches_whose_keys_come_in_another_order_are_told_apart():
    model, _ = trained(in_order, {"a": A, "b": B}, True)
    plain = Model(in_order)
    plain({"a": A, "b": B})
    plain.set_weights(model.get_weights())
    for x in ({"b": B, "a": A}, {"a": A, "b": B}):
        expected = plain.predict_on_batch(x)
        np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-5, atol=1e-6)


def test_it_is_said_why_a_call_with_anything_else_is_as_it_is():
    def numbered(dense, look_up, x):
        return dense(x[0])

    model, _ = trained(numbered, {0: A, 1: B}, True)
    text = str(keras_dawn.explain(model))
    assert "Model.call" in text and "called with more than tensors" in text


def test_it_is_said_that_nothing_calls_a_model_beside_its_own_step():
    class Steps(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            loss = ops.mean(ops.square(self.dense(x, training=True) - y))
            self.zero_grad()
            loss.backward()
            values = [variable.value.grad for variable in self.trainable_variables]
            with torch.no_grad():
                self.optimizer.apply(values, self.trainable_variables)
            return {"loss": loss}

    model = Steps()
    model.compile("sgd")
    keras_dawn.accelerate(model)
    model.fit(A, Y, verbose=0)
    assert "nothing has called it so far" in str(keras_dawn.explain(model))
