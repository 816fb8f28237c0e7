"""Python's operators in layers of one's own: what torch's do, where Keras's do something else."""

import itertools
import operator

import keras_dawn
from keras_dawn.foundation.keras_operators import operators_checked
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch


class Bits(layers.Layer):
    def call(self, x):
        return ops.cast(ops.cast(x, "int32") & 1, "float32")


class OtherBits(layers.Layer):
    def call(self, x):
        whole = ops.cast(x, "int32")
        return ops.cast((whole | 4) ^ ~whole, "float32")


class Booleans(layers.Layer):
    """These are the same: it stays native."""

    def call(self, x):
        return ops.cast(((x > 1) & (x < 3)) | ~(x < 5), "float32") - x % 2


class Floors(layers.Layer):
    def call(self, x):
        return ops.cast(x, "int64") // 2 + (x > 1)


class BooleanPlusNumber(layers.Layer):
    def call(self, x):
        return (x > 1) + 2


class Rows(layers.Layer):
    def call(self, x):
        return ops.mean(x[[0, 1]], keepdims=True) + x


class Difference(layers.Layer):
    def call(self, x):
        return x - (x > 1)


class Product(layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), name="w")

    def call(self, x):
        return x @ ops.cast(self.w, "bfloat16")


class Signs(layers.Layer):
    """The number is the first operand, and the second one is asked."""

    def call(self, x):
        return ops.cast((-1) ** ops.cast(x, "int32"), "float32")


def model_of(kind):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Rescaling(1.0)(kind()(inputs)))


X = np.array([[1, 2, 3, 5], [2, 0, 1, 7], [3, 3, 2, 1]], "float32")


@pytest.mark.parametrize(
    "kind",
    [Bits, OtherBits, Booleans, Floors, BooleanPlusNumber, Rows, Signs],
    ids=lambda kind: kind.__name__,
)
def test_operators_do_what_they_do_in_plain_keras(kind):
    keras.utils.set_random_seed(0)
    model = model_of(kind)
    expected = model.predict(X, verbose=0)
    keras_dawn.accelerate(model)
    found = model.predict(X, verbose=0)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert bool(keras_dawn.explain(model).fallbacks) is (kind in LEFT)


LEFT = Bits, OtherBits, Floors, BooleanPlusNumber, Rows  # to their own Python


@pytest.mark.parametrize("kind", [Difference, Product])
def test_what_torch_refuses_is_its_error(kind):
    for accelerate in (False, True):
        model = model_of(kind)
        if accelerate:
            keras_dawn.accelerate(model)
        with pytest.raises(RuntimeError):  # of torch's
            model.predict(X, verbose=0)


def bits(x):
    return ops.cast(ops.cast(x, "int32") & 1, "float32")


def test_operators_of_an_activation_do_what_they_do_in_plain_keras():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Activation(bits)(inputs))
    expected = model.predict(X, verbose=0)
    found = keras_dawn.accelerate(model).predict(X, verbose=0)
    np.testing.assert_array_equal(found, expected)


OPERATORS = {
    operator.add: ops.add, operator.sub: ops.subtract, operator.mul: ops.multiply,
    operator.truediv: ops.divide, operator.floordiv: ops.floor_divide, operator.mod: ops.mod,
    operator.pow: ops.power, operator.and_: ops.logical_and, operator.lt: ops.less,
}  # fmt: skip
DTYPES = "bool", "int32", "bfloat16", "float32"
OPERANDS = [*itertools.product(DTYPES, ((2,), ())), 2, -1, 1.5, True]


def real(operand):
    if not isinstance(operand, tuple):
        return operand
    dtype, shape = operand
    return torch.ones(shape, dtype=getattr(torch, dtype), device="cpu")


def dtype_or_none(function, *operands):
    try:
        return keras.backend.standardize_dtype(function(*operands).dtype)
    except Exception:
        return None


@pytest.mark.parametrize("of_python", OPERATORS, ids=lambda function: function.__name__)
def test_symbolic_results_have_the_dtype_of_real_ones_or_are_refused(of_python):
    for operands in itertools.product(OPERANDS, repeat=2):
        if not any(isinstance(operand, tuple) for operand in operands):
            continue
        wanted = dtype_or_none(of_python, *map(real, operands))
        of_keras = dtype_or_none(OPERATORS[of_python], *map(real, operands))
        symbols = [
            keras.KerasTensor(each[1], each[0]) if isinstance(each, tuple) else each
            for each in operands
        ]
        with operators_checked():
            if wanted is None or wanted != of_keras:
                with pytest.raises(TraceError):
                    of_python(*symbols)
            else:
                assert of_python(*symbols).dtype == wanted, operands
