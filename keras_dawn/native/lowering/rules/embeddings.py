"""Tables of vectors, looked up by number and read backwards, and layers that make masks."""

from keras_dawn.native.lowering.dtypes import torch_dtype
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value

import torch
from keras import layers


def lookup(table, indices, dtype=torch.int32):
    """Rows of a table by numbers, which Keras casts; negative ones count from the table's end."""
    if table.is_cpu and not torch.compiler.is_compiling():
        whole = indices.dtype in (torch.int32, torch.int64)
        # A processor looks at each of them; what is out of range may be in it after the cast.
        try:
            return torch.embedding(table, indices if whole else indices.to(dtype))
        except IndexError:
            pass
    indices = indices.to(dtype)
    return torch.embedding(table, torch.where(indices < 0, indices + len(table), indices))


def lookup_in(dtype, table, indices):
    """Rows of a table in another dtype: without a gradient only those rows are cast."""
    if table.requires_grad and torch.is_grad_enabled():
        # Sums of gradients are rounded as Keras's, in the dtype that the table is cast to.
        return lookup(table.to(dtype), indices)
    return lookup(table, indices).to(dtype)


@rule(layers.Embedding, masks=True)
def embedding(builder, layer, inputs, call):
    (value,) = inputs
    given = builder.keras_order(value)
    if call.training or layer.embeddings.dtype == layer.compute_dtype:
        table = builder.parameter(layer.embeddings, AS_IS, layer.compute_dtype)
        node = builder.call(lookup, table, given, name=call.name)
    else:
        table = builder.parameter(layer.embeddings, AS_IS)
        dtype = torch_dtype(layer.compute_dtype)
        node = builder.call(lookup_in, dtype, table, given, name=call.name)
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
