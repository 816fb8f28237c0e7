"""Tables of vectors, looked up by number and read backwards, and layers that make masks."""

import contextlib

from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value

import torch
from keras import layers


def lookup(table, indices):
    """Rows of a table; negative indices count from its end, as Keras has it."""
    if table.device.type == "cpu" and not torch.compiler.is_compiling():
        with contextlib.suppress(IndexError):  # a processor looks at each of them
            return torch.embedding(table, indices)
    return torch.embedding(table, torch.where(indices < 0, indices + len(table), indices))


@rule(layers.Embedding, masks=True)
def embedding(builder, layer, inputs, call):
    (value,) = inputs
    table = builder.parameter(layer.embeddings, AS_IS, layer.compute_dtype)
    given = builder.keras_order(value)
    indices = builder.graph.call_method("int", (given,))
    node = builder.call(lookup, table, indices, name=call.name)
    # A vector in place of each number.
    result = Value(node, value.rank + 1, layer.compute_dtype)
    if layer.mask_zero:
        builder.set_mask(result, builder.call(torch.ne, given, 0))
    return result


@rule(layers.ReversibleEmbedding, arguments=True, masks=True)
def reversible_embedding(builder, layer, inputs, call):
    value, reverse = call.arguments["inputs"], call.arguments["reverse"]
    if not reverse:
        return embedding(builder, layer, [value], call)
    dtype = layer.reverse_dtype or layer.compute_dtype
    value = builder.to(value, dtype)
    if layer.tie_weights:
        table = builder.parameter(layer.embeddings, AS_IS, layer.compute_dtype)
        turned = builder.call(torch.t, table)
    else:
        turned = builder.parameter(layer.reverse_embeddings, AS_IS, layer.compute_dtype)
    if dtype != layer.compute_dtype:
        turned = builder.to(Value(turned, 2, layer.compute_dtype), dtype).node
    cap = layer.logit_soft_cap
    named = call.name if cap is None else None
    node = builder.call(torch.matmul, builder.keras_order(value), turned, name=named)
    if cap is not None:
        node = builder.call(torch.tanh, builder.call(torch.div, node, cap))
        node = builder.call(torch.mul, node, cap, name=call.name)
    return value.with_node(node, torch_order=False)


@rule(layers.Masking, masks=True)
def masking(builder, layer, inputs, call):
    value = inputs[0]
    node = builder.keras_order(value)
    unlike = builder.call(torch.ne, node, _number(layer.mask_value))
    kept = builder.call(torch.any, unlike, -1, True)
    result = value.with_node(
        builder.call(torch.where, kept, node, 0, name=call.name), torch_order=False
    )
    builder.set_mask(result, builder.call(torch.squeeze, kept, -1))
    return result


def _number(mask_value):
    if isinstance(mask_value, (bool, int, float)):
        return mask_value
    raise LoweringError("a mask_value that is no number")
