"""Tables of vectors, looked up by number and read backwards, and layers that make masks."""

from keras_dawn.native.lowering.dtypes import HALF, result_type, torch_dtype
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value

import torch
from keras import layers

_WHOLE = torch.int32, torch.int64


def lookup(table, indices, dtype=torch.int32):
    """Rows of a table by numbers, which Keras casts; negative ones count from the table's end."""
    if table.is_cpu and not torch.compiler.is_compiling():
        whole = indices.dtype in _WHOLE
        # A processor looks at each of them; what is out of range may be in it after the cast.
        try:
            return torch.embedding(table, indices if whole else indices.to(dtype))
        except IndexError:
            pass
        try:
            return _from_both_ends(table, indices.to(dtype))
        except IndexError as error:
            raise IndexError(_why_not(table, indices.to(dtype))) from error
    return _from_both_ends(table, indices.to(dtype))


def _from_both_ends(table, indices):
    return torch.embedding(table, torch.where(indices < 0, indices + len(table), indices))


def _why_not(table, indices):
    rows = len(table)
    first, *_ = indices[(indices < -rows) | (indices >= rows)].tolist()
    return (
        f"Expected numbers below {rows}, the rows of the table (`input_dim` of an `Embedding`), "
        f"and from -{rows} on, which count from its end; got {first}. Give the layer a larger "
        "`input_dim`, or change the numbers."
    )


def lookup_in_half(table, indices, dtype):
    """Rows of a table in half precision, of a table that is not trained now.

    Where many rows are looked up it is cast as a whole first: the same numbers. For as many rows as
    it has that takes 0.6 to 1.0 of the time, for two thirds of them 0.6 to 1.1, for half of them up
    to 1.5 (1,000 to 16,000 rows of 32 to 512 numbers, one thread of an AMD EPYC).
    """
    few = table.shape[0] > 1.25 * indices.numel()  # asked first: it is so in most models
    if (
        few
        or not table.is_cpu
        or torch.compiler.is_compiling()
        or (torch.is_grad_enabled() and table.requires_grad)
    ):
        return lookup(table, indices).to(dtype)
    return lookup(table.to(dtype), indices)


@rule(layers.Embedding, masks=True)
def embedding(builder, layer, inputs, call):
    (value,) = inputs
    given = builder.keras_order(value)
    # As in Keras the rows that were looked up are cast, not the table: the gradients of a row that
    # many places ask for are added up in the table's precision.
    table = builder.parameter(layer.embeddings, AS_IS)
    single = layer.embeddings.dtype == "float32"
    if single and layer.compute_dtype in HALF and not call.training:
        dtype = torch_dtype(layer.compute_dtype)
        node = builder.call(lookup_in_half, table, given, dtype, name=call.name)
        result = Value(node, value.rank + 1, layer.compute_dtype)
    else:
        node = builder.call(lookup, table, given, name=call.name)
        # A vector in place of each number.
        vectors = Value(node, value.rank + 1, layer.embeddings.dtype)
        result = builder.to(vectors, layer.compute_dtype)
    if layer.mask_zero:
        builder.masks.set(result, builder.call(torch.ne, given, 0))
    return result


@rule(layers.ReversibleEmbedding, arguments=True, masks=True)
def reversible_embedding(builder, layer, inputs, call):
    value, reverse = call.arguments["inputs"], call.arguments["reverse"]
    if not reverse:
        return embedding(builder, layer, [value], call)
    table = layer.embeddings if layer.tie_weights else layer.reverse_embeddings
    same = layer.compute_dtype in (table.dtype, layer.reverse_dtype)
    if not same and (builder.for_one_layer or not builder.autocast):
        # The layer casts no weights, which only says something where a model does.
        raise LoweringError("a table that is cast or not, by what calls the layer")
    dtype = layer.reverse_dtype or result_type(value.dtype, table.dtype)
    value = builder.to(value, dtype)
    turned = builder.parameter(table, AS_IS, dtype)
    if layer.tie_weights:
        turned = builder.call(torch.t, turned)
    cap = layer.logit_soft_cap
    named = call.name if cap is None else None
    node = builder.call(torch.matmul, builder.keras_order(value), turned, name=named)
    if cap is not None:
        node = builder.call(torch.tanh, builder.call(torch.div, node, cap))
        node = builder.call(torch.mul, node, cap, name=call.name)
    return Value(node, value.rank, dtype)


@rule(layers.Masking, masks=True)
def masking(builder, layer, inputs, call):
    value = inputs[0]
    if value.dtype == "bool":
        raise LoweringError("of bool, which Keras makes numbers")
    node = builder.keras_order(value)
    unlike = builder.call(torch.ne, node, _number(layer.mask_value))
    kept = builder.call(torch.any, unlike, -1, True)
    result = value.with_node(
        builder.call(torch.where, kept, node, 0, name=call.name), torch_order=False
    )
    builder.masks.set(result, builder.call(torch.squeeze, kept, -1))
    return result


def _number(mask_value):
    if isinstance(mask_value, (bool, int, float)):
        return mask_value
    raise LoweringError("a mask_value that is no number")
