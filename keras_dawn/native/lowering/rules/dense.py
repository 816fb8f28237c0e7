"""Dense layers and tables of vectors."""

from keras_dawn.native.lowering.dtypes import result_type
from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.layouts import AS_IS, DENSE
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.activations import activate
from keras_dawn.native.lowering.rules.convolutions import bias_of

import torch
from keras import layers


@rule(layers.Dense)
def dense(builder, layer, inputs, call):
    # Where a gradient arrives in the variable's own tensor, a view of it costs more than it saves.
    as_it_is = builder.views is None and inputs[0].rank == 2
    weight = builder.parameter(layer.kernel, AS_IS if as_it_is else DENSE, layer.compute_dtype)
    # Integers are cast as Keras's matmul does it.
    value = builder.to(inputs[0], result_type(inputs[0].dtype, layer.compute_dtype))
    if value.dtype != layer.compute_dtype:
        raise LoweringError(f"of {inputs[0].dtype}")
    x, bias = builder.keras_order(value), bias_of(builder, layer)
    if not as_it_is:
        node = builder.call(torch._C._nn.linear, x, weight, bias, name=call.name)
    elif bias is None:
        node = builder.call(torch.mm, x, weight, name=call.name)
    else:
        node = builder.call(torch.addmm, bias, x, weight, name=call.name)
    return activate(builder, value.with_node(node, torch_order=False), layer, call)


def lookup(table, indices):
    """Rows of a table; negative indices count from its end, as Keras has it."""
    return torch.embedding(table, torch.where(indices < 0, indices + len(table), indices))


@rule(layers.Embedding)
def embedding(builder, layer, inputs, call):
    if layer.mask_zero:
        raise LoweringError("mask_zero=True")
    (value,) = inputs
    table = builder.parameter(layer.embeddings, AS_IS, layer.compute_dtype)
    indices = builder.graph.call_method("int", (builder.keras_order(value),))
    node = builder.call(lookup, table, indices, name=call.name)
    return Value(node, value.rank + 1, layer.compute_dtype)


@rule(layers.ReversibleEmbedding)
def reversible_embedding(builder, layer, inputs, call):
    return embedding(builder, layer, inputs, call)  # the other way it has an argument more
