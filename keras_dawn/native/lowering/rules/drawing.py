"""Draws of `keras.random` in Python of the user's."""

from keras_dawn.foundation.keras_draws import Draw
from keras_dawn.native.lowering import draws
from keras_dawn.native.lowering.dtypes import torch_dtype
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.randomness import generator_of
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch
import torch.nn.functional as F


@rule(Draw)
def draw(builder, operation, inputs, call):
    numbers, seed = operation.numbers, operation.seed
    if operation.function == "dropout":
        return _dropped(builder, operation, inputs[0], call.name)
    like = _of_the_batch(builder, operation.shape, inputs, call)
    shape = operation.shape
    dtype = torch_dtype(operation.dtype)
    state = _state(builder, seed)
    if operation.function in ("uniform", "randint"):
        function = draws.uniform if operation.function == "uniform" else draws.whole
        settings = shape, numbers["minval"], numbers["maxval"], dtype
    else:
        truncated = operation.function == "truncated_normal"
        function = draws.truncated_normal if truncated else draws.normal
        settings = shape, numbers["mean"], numbers["stddev"], dtype
    node = builder.call(function, state, like, *settings, name=call.name)
    return Value(node, len(shape), operation.dtype)


def _state(builder, seed):
    """What `draws` takes for a seed."""
    if isinstance(seed, keras.random.SeedGenerator):
        builder.reads.note(seed, "state", seed.state)
        return generator_of(builder, seed)
    builder.changes()  # Keras's own generator; and nothing is captured around a seed
    return seed


def _of_the_batch(builder, shape, inputs, call):
    """The node of a tensor that has the first size of a shape, if that is open."""
    if not inputs:
        raise LoweringError("a draw without a tensor beside it")
    if shape[:1] != (None,):
        return inputs[0].node
    pairs = zip(inputs, call.shapes, strict=True)
    nodes = [value.node for value, sizes in pairs if sizes[:1] == (None,)]
    return nodes[0] if len(nodes) == 1 else builder.call(draws.of_one_batch, *nodes)


def _dropped(builder, operation, value, name):
    """`keras.random.dropout`: from torch's generator where nobody gives a seed, as in Keras."""
    rate, seed, shape = operation.numbers["rate"], operation.seed, operation.shape
    if rate in (0, 1):
        zeros = torch.zeros_like if rate else None
        return value.with_node(builder.call(zeros, value.node)) if rate else value
    if operation.asks_torch():
        value = builder.padded(value)
        return value.with_node(builder.call(F.dropout, value.node, rate, True, name=name))
    if shape is not None and len(shape) != value.rank:
        raise LoweringError("dropout in another shape")
    node, state = builder.keras_order(value), _state(builder, seed)
    node = builder.call(draws.drop, node, state, rate, shape, name=name)
    return value.with_node(node, torch_order=False)
