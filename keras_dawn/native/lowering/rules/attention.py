"""Attention of several heads, and the attention layers without weights of their own."""

from keras_dawn.foundation import keras_attention, keras_masks, keras_operations
from keras_dawn.native.lowering import attention_scores as functions
from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.reads import Recorded, unrecorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.projections import apply_projection
from keras_dawn.native.lowering.values import LoweringError, Value

import torch
import torch.nn.functional as F
from keras import layers


@rule(layers.MultiHeadAttention, arguments=True, masks=True)
def multi_head_attention(builder, layer, inputs, call):
    query, value, key = (call.arguments[name] for name in ("query", "value", "key"))
    # Keras looks at the mask that the query has, whatever `query_mask` says, and takes the
    # masks off.
    of_query = query.mask
    outputs = _of_heads(builder, layer, call, of_query)
    builder.masks.set(outputs[0], of_query)
    # Off the tensors that it computes with: what was cast is another one, if it had to be.
    given = keras_operations.bound_arguments(unrecorded(layer), call.args, call.kwargs)
    for name, tensor in (("query", query), ("value", value), ("key", key)):
        if tensor is None:
            continue
        if tensor.node is given[name].node:
            builder.masks.drop(tensor.node)
        elif given[name].guessed and given[name].mask is not None:
            left = given[name].node, tensor.node, given[name].mask
            builder.masks.change(given[name].node, builder.call(keras_masks.mask_left, *left))
    return outputs


@rule(layers.GroupQueryAttention, arguments=True, masks=True)
def group_query_attention(builder, layer, inputs, call):
    query, given = call.arguments["query"], call.arguments["attention_mask"]
    if isinstance(given, Value) and is_float(given.dtype):
        raise LoweringError("an attention_mask of floats")
    outputs = _of_heads(builder, layer, call, of_query=call.arguments["query_mask"])
    builder.masks.set(outputs[0], query.mask)
    return outputs


def _of_heads(builder, layer, call, of_query):
    settings, given = keras_attention.head_settings(layer), call.arguments
    query, value, key = given["query"], given["value"], given["key"]
    # As in Keras: without a key, the value is the key.
    key = value if key is None else key
    scores_too, causal = given["return_attention_scores"], given["use_causal_mask"]
    if type(scores_too) is not bool or type(causal) is not bool:
        raise LoweringError("settings that are no bool")
    if settings.flash and (scores_too or not _on_cuda(settings.query)):
        raise LoweringError("flash attention whose scores are asked for, or without a GPU")
    masks = tuple(builder.tensor(m) for m in (of_query, given["value_mask"], given["key_mask"]))
    explicit = builder.tensor(given["attention_mask"])
    mask = None
    if any(part is not None for part in (*masks, explicit, settings.window)):
        mask = builder.call(
            functions.combined_mask,
            builder.keras_order(query),
            builder.keras_order(value),
            masks,
            explicit,
            causal,
            settings.window,
        )
    gate = None
    if settings.gate is not None:
        gate = apply_projection(builder, settings.gate, query, call, "gate").node
    query = apply_projection(builder, settings.query, query, call, "query")
    key = apply_projection(builder, settings.key, key, call, "key")
    value = apply_projection(builder, settings.value, value, call, "value")
    rate = _rate(builder, settings, layer) if call.training and settings.rate > 0 else 0.0
    # The fused kernel hands no scores out. And with dropout Keras writes attention out: there a
    # position that may look at nothing gets zeros, and here the average of all.
    fused = query.rank == 4 and not scores_too and not (settings.rate > 0 and mask is not None)
    scores = None
    if fused and not rate:
        node = _fused(builder, settings, query, key, value, mask, causal, call.training)
    else:
        node, scores = _written_out(builder, settings, rate, query, key, value, mask, causal)
    if gate is not None:
        node = builder.call(torch.mul, node, gate)
    result = apply_projection(builder, settings.output, value.with_node(node), call, "output")
    if not scores_too:
        return [result]
    return [result, scores]


def _on_cuda(layer):
    return layer.kernel.value.device.type == "cuda"


def _rate(builder, settings, layer):
    """The rate at which scores are dropped in training."""
    dropout = Recorded(settings.dropout, builder.reads)
    if why_as_it_is(settings.dropout, builder.reads) or layer.seed is not None:
        raise LoweringError("dropout with a seed of its own, whose draws only Keras makes")
    return _below_one(float(dropout.rate))


def _below_one(rate):
    if rate == 1:
        raise LoweringError("a dropout of 1")
    return rate


def _fused(builder, settings, query, key, value, mask, causal, training):
    in_half = query.dtype == "bfloat16" and settings.query.kernel.value.device.type == "cpu"
    query, key, value = (
        _heads_first(builder, part, repeats)
        for part, repeats in ((query, 1), (key, settings.repeats), (value, settings.repeats))
    )
    if settings.flash or mask is not None or in_half:
        function = functions.attend_by_flash if settings.flash else functions.attend
        if in_half and not settings.flash:
            function = functions.attend_in_training if training else functions.attend_in_half
        node = builder.call(function, query, key, value, mask, settings.scale, causal)
    else:
        node = builder.call(
            F.scaled_dot_product_attention,
            query, key, value, None, 0.0, causal, scale=settings.scale,
        )  # fmt: skip
    return builder.graph.call_method("transpose", (node, 1, 2))


def _heads_first(builder, part, repeats):
    # (batch, length, heads, channels) to (batch, heads, length, channels), as the kernel has it
    node = builder.graph.call_method("transpose", (part.node, 1, 2))
    return builder.call(torch.repeat_interleave, node, repeats, 1) if repeats > 1 else node


def _written_out(builder, settings, rate, query, key, value, mask, causal):
    """`(outputs, scores)` step by step, for scores that are dropped from or asked for.

    The outputs are a node, the scores a `Value` with the mask that Keras's softmax gives them.
    """
    if why_as_it_is(settings.softmax, builder.reads) is not None:
        raise LoweringError("a softmax of the user's")
    if causal:
        mask = builder.call(functions.mask_or_causal, mask, query.node, value.node, causal)
    # The query and not the scores, as in Keras: the same rounding, and fewer numbers.
    scaled = builder.call(torch.mul, query.node, settings.scale)
    by_heads = query.rank == 4
    if by_heads:
        queries = builder.graph.call_method("transpose", (scaled, 1, 2))
        keys = _heads_first(builder, key, settings.repeats)
        values = _heads_first(builder, value, settings.repeats)
        scores = builder.call(
            torch.matmul, queries, builder.graph.call_method("transpose", (keys, 2, 3))
        )
    else:
        scores = builder.call(torch.einsum, settings.equations[0], key.node, scaled)
    count = len(settings.axes)
    axes, rank = tuple(range(-count, 0)), query.rank + count - 1
    if mask is not None:
        mask = builder.call(functions.over_heads, mask, rank, count)
    if mask is None and count == 1:
        weights = builder.call(torch.softmax, scores, -1)
    else:
        weights = builder.call(functions.masked_softmax, scores, mask, axes)
    handed_out = value.with_node(weights, rank=rank)
    builder.masks.set(handed_out, mask)
    kept = builder.call(F.dropout, weights, rate, True) if rate else weights
    if not by_heads:
        return builder.call(torch.einsum, settings.equations[1], kept, value.node), handed_out
    node = builder.call(torch.matmul, kept, values)
    return builder.graph.call_method("transpose", (node, 1, 2)), handed_out


@rule(layers.Attention, layers.AdditiveAttention, arguments=True, masks=True)
def attention(builder, layer, inputs, call):
    query, value, *rest = call.arguments["inputs"]
    key = rest[0] if rest else value
    masks = call.arguments["mask"] or (None, None)
    of_query, of_value = (builder.tensor(mask) for mask in masks[:2])
    scores_too, causal = (
        call.arguments[name] for name in ("return_attention_scores", "use_causal_mask")
    )
    if type(scores_too) is not bool or type(causal) is not bool:
        raise LoweringError("settings that are no bool")
    if not all(is_float(part.dtype) for part in (query, value, key)):
        raise LoweringError("of integers")
    rate = _below_one(float(layer.dropout)) if call.training and layer.dropout > 0 else 0.0
    if rate and layer.seed is not None:
        raise LoweringError("dropout with a seed of its own, whose draws only Keras makes")
    nodes = [builder.keras_order(part) for part in (query, key, value)]
    scores = _scores(builder, layer, *nodes[:2])
    if causal or of_value is not None:
        scores = builder.call(functions.lower_where_masked, scores, of_value, causal)
    weights = builder.call(torch.softmax, scores, -1)
    kept = builder.call(F.dropout, weights, rate, True) if rate else weights
    node = builder.call(torch.matmul, kept, nodes[2], name=call.name)
    if of_query is not None:
        node = builder.call(functions.zero_where_masked, node, of_query)
    result = query.with_node(node, torch_order=False)
    builder.masks.set(result, of_query)
    # Those that were dropped from, as Keras returns them.
    return [result, query.with_node(kept, torch_order=False)] if scores_too else result


def _scores(builder, layer, query, key):
    """How well each query fits each key, by the layer's own measure."""
    dtype = layer.compute_dtype
    scale = None
    if layer.scale is not None:
        scale = builder.parameter(layer.scale, AS_IS, dtype)
    additive = isinstance(layer, layers.AdditiveAttention)
    if not additive and layer.score_mode == "dot":
        turned = builder.graph.call_method("transpose", (key, -2, -1))
        scores = builder.call(torch.matmul, query, turned)
        return scores if scale is None else builder.call(torch.mul, scores, scale)
    pairs = builder.call(
        torch.add, builder.call(torch.unsqueeze, query, -2), builder.call(torch.unsqueeze, key, -3)
    )
    if additive:
        scores = builder.call(torch.tanh, pairs)
        if scale is not None:
            return builder.call(torch.matmul, scores, scale)
        return builder.call(torch.sum, scores, -1)
    if scale is not None:
        pairs = builder.call(torch.mul, scale, pairs)
    scores = builder.call(torch.sum, builder.call(torch.tanh, pairs), -1)
    weight = builder.parameter(layer.concat_score_weight, AS_IS, dtype)
    return builder.call(torch.mul, weight, scores)
