"""Numbers as categories, and categories as vectors."""

from keras_dawn.native.lowering.dtypes import is_float, torch_dtype
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError

import keras
import torch
import torch.nn.functional as F
from keras import layers


@rule(layers.CategoryEncoding)
def category_encoding(builder, layer, inputs, call):
    if len(inputs) != 1:
        raise LoweringError("with weights")
    node = builder.keras_order(inputs[0])
    return _encoded(builder, layer, inputs[0], node, call, int(layer.num_tokens), layer.dtype)


@rule(layers.Discretization)
def discretization(builder, layer, inputs, call):
    value = inputs[0]
    bounds = list(layer.bin_boundaries)
    # In Keras's float: a number between the rounded and the exact bound falls on Keras's side.
    tensor = keras.ops.convert_to_tensor(bounds, dtype=keras.config.floatx())
    node = builder.keras_order(value)
    if value.dtype == "bool":  # which `bucketize` does not take
        node = builder.call(torch.Tensor.to, node, torch.uint8)
    bounds_node = builder.constant(tensor, call.name)
    node = builder.call(torch.bucketize, node, bounds_node, out_int32=True, right=True)
    if layer.output_mode == "int":
        return value.with_node(node, dtype="int32", torch_order=False)
    depth, dtype = len(bounds) + 1, layer.compute_dtype
    return _encoded(builder, layer, value, node, call, depth, dtype)


def _encoded(builder, layer, value, node, call, depth, dtype):
    rank = len(call.output.shape)
    several = layer.output_mode != "one_hot"
    if layer.sparse or not is_float(dtype) or (several and value.rank < 2):
        raise LoweringError(f"{layer.output_mode}, {dtype}, of {value.rank} axes")
    settings = layer.output_mode, depth, torch_dtype(dtype)
    node = builder.call(encode, node, *settings, name=call.name)
    return value.with_node(node, rank=rank, dtype=dtype, torch_order=False)


def encode(categories, mode, depth, dtype):
    """Categories as vectors of a length, with a place for each category.

    Args:
        categories: tensor of whole numbers, `(batch, …)`; negative ones are no category.
        mode: `"one_hot"`; or `"multi_hot"` or `"count"`, which put those along axis 1 together.
        depth: int, the number of categories.
        dtype: of the vectors.
    """
    if mode == "one_hot" and categories.ndim > 1 and categories.shape[-1] == 1:
        categories = categories.squeeze(-1)
    categories = categories.long()
    # torch refuses negative categories; Keras gives them no place.
    places = F.one_hot(categories.clamp(min=0), depth)
    places = torch.where((categories >= 0)[..., None], places, 0).to(dtype)
    if mode == "one_hot":
        return places
    return places.amax(1) if mode == "multi_hot" else places.sum(1)
