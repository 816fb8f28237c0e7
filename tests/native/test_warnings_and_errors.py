"""What plain Keras warns of and refuses, an accelerated model does too; and nothing besides."""

import warnings

import keras_dawn

import keras
import numpy as np
import pytest
import torch
from keras import layers


def categories(action):
    """The texts' beginnings of what an action warns of, without NumPy's about Keras's tensors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        action()
    return {str(warning.message)[:40] for warning in caught}


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def dense_softmax():
    return keras.Sequential([keras.Input((3,)), layers.Dense(1, "softmax")])


def activation_softmax():
    return keras.Sequential([keras.Input((3,)), layers.Dense(1), layers.Activation("softmax")])


def masked_inner_model():
    inner = keras.Sequential([layers.Dense(2), layers.GlobalAveragePooling1D(), layers.Dense(1)])
    return keras.Sequential([keras.Input((3, 2)), layers.Masking(), inner])


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize("make", [dense_softmax, activation_softmax, masked_inner_model])
def test_a_model_warns_in_every_call_as_plain_keras(make):
    model = make()
    x, y = numbers(4, *model.input_shape[1:]), np.ones((4, 1))
    model.compile("sgd", "mse")
    actions = [
        lambda: model.fit(x, y, verbose=0),
        lambda: model.fit(x, y, verbose=0),
        lambda: model.predict(x, verbose=0),
        lambda: model.train_on_batch(x, y),
    ]
    expected = [categories(action) for action in actions]
    assert all(expected)
    keras_dawn.accelerate(model)
    assert [categories(action) for action in actions] == expected


def of_inputs(kind):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    if kind == "single":
        return keras.Model(a, layers.Dense(1)(a))
    return keras.Model({"a": a, "b": b} if kind == "dict" else [a, b], layers.Dense(1)(a + 2 * b))


@pytest.mark.parametrize("kind", ["single", "list", "dict"])
def test_inputs_too_many_or_by_other_names_are_what_keras_makes_of_them(kind):
    model = of_inputs(kind)
    x, y = numbers(4, 3), np.ones((4, 1))
    good = {"single": x, "list": [x, x], "dict": {"a": x, "b": x}}[kind]
    others = [[x, x, x], {"a": x, "c": x}, {"a": x, "b": x, "c": x}, {"c": x, "d": x}]

    def said():
        found = []
        for other in others:
            for call in (model.evaluate, model.train_on_batch):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        call(other, y, **({"verbose": 0} if call == model.evaluate else {}))
                    found.append(None)
                except ValueError as error:
                    found.append(str(error)[:60])
        return found

    model.compile("sgd", "mse")
    model.fit(good, y, verbose=0)
    expected = said()
    assert any(expected)
    keras_dawn.accelerate(model)
    model.fit(good, y, verbose=0)
    assert said() == expected


def test_gradients_left_over_before_acceleration_do_not_make_torch_warn():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(numbers(4, 4), numbers(4, 2), verbose=0)  # leaves its gradients behind
    keras_dawn.accelerate(model)
    before = [v.value.grad.clone() for v in model.trainable_variables]
    model.evaluate(numbers(4, 4), numbers(4, 2), verbose=0)
    for variable, gradient in zip(model.trainable_variables, before, strict=True):
        assert variable.value.grad.stride() == variable.value.stride()
        assert torch.equal(variable.value.grad, gradient)


class Doubled(layers.Layer):
    def call(self, x):
        return x * 2.0


def test_a_warning_that_was_shown_is_not_shown_again_when_a_graph_is_made():
    def of_mine():
        warnings.warn("of mine", stacklevel=1)

    model = keras.Sequential([keras.Input((3,)), Doubled(), layers.Dense(1)])
    with warnings.catch_warnings(record=True, action="default") as said:
        of_mine()
        assert "mul" in keras_dawn.to_torch(model).code
        of_mine()
    assert [str(one.message) for one in said] == ["of mine"]
