"""`to_torch` of models with several inputs and outputs: called as the model is."""

from keras_dawn.native import to_torch
from keras_dawn.native.lowering.values import LoweringError

import keras
import pytest
from keras import layers

from tests.native.test_saved_modules import by_pickle
from tests.on_device import torch

A, B = torch.randn(4, 3), torch.randn(4, 5)


def model_of(inputs, outputs, dense=2):
    """`inputs(a, b)` and `outputs(sum, difference)` are the structures."""
    a, b = keras.Input((3,), name="a"), keras.Input((5,), name="b")
    one, two = layers.Dense(dense)(a), layers.Dense(dense)(b)
    return keras.Model(inputs(a, b), outputs(one + two, one - two))


STRUCTURES = {
    "dict": lambda a, b: {"b": b, "a": a},
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (b, a),
    "nested": lambda a, b: {"z": [a], "class": {"b": b}},
}


def check(found, expected):
    keras.tree.assert_same_structure(found, expected)
    assert type(found) is type(expected)
    for one, two in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("outputs", STRUCTURES)
@pytest.mark.parametrize("inputs", STRUCTURES)
def test_a_module_takes_and_gives_the_structures_of_the_model(inputs, outputs):
    model = model_of(STRUCTURES[inputs], STRUCTURES[outputs])
    given = STRUCTURES[inputs](A, B)
    check(to_torch(model)(given), model(given))


def test_tensors_may_come_one_by_one_in_keras_s_order():
    model = model_of(STRUCTURES["dict"], STRUCTURES["dict"])
    check(to_torch(model)(A, B), model({"a": A, "b": B}))


def test_the_code_names_a_dict_s_keys_and_a_copy_takes_the_same():
    model = model_of(STRUCTURES["dict"], STRUCTURES["dict"])
    module = to_torch(model)
    assert "a = " in module.code and "return {'a': " in module.code
    given = {"a": A, "b": B}
    check(by_pickle(module)(given), model(given))
    exported = torch.export.export(module, (given,)).module()
    check(dict(exported(given)), model(given))


@pytest.mark.parametrize("given", [(A,), ({"a": A},), ([A, B],), ({"a": A, "c": B},), (A, B, A)])
def test_other_structures_are_refused(given):
    module = to_torch(model_of(STRUCTURES["dict"], STRUCTURES["list"]))
    with pytest.raises(TypeError, match="Expected the inputs as the model takes them, {'a': tens"):
        module(*given)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2, "relu")

    def call(self, x):
        return self.dense(x)


def test_a_subclassed_model_is_refused_with_what_to_do_and_that_works():
    model = Own()
    expected = model(A)
    with pytest.raises(LoweringError, match=r"to_torch\(keras.Model\(inputs, model\(inputs\)\)\)"):
        to_torch(model)
    inputs = keras.Input((3,))
    module = to_torch(keras.Model(inputs, model(inputs)))
    assert "relu" in module.code
    torch.testing.assert_close(module(A), expected)
