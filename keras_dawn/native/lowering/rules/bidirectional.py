"""A recurrent layer in both directions."""

import dataclasses

from keras_dawn.foundation import keras_layers
from keras_dawn.native import recurrent
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.reads import Recorded, unrecorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.conv_lstm import CONVOLUTIONAL, run_images
from keras_dawn.native.lowering.rules.recurrent import (
    cells_of,
    floats_for,
    mask_to_hand_on,
    refuse_what_keras_refuses,
    run_layer,
    sequences_states_mask,
    weights_of,
    with_features_of,
)
from keras_dawn.native.lowering.values import LoweringError, Value

import torch
from keras import activations, layers

KINDS = {layers.LSTM: "lstm", layers.GRU: "gru", layers.SimpleRNN: "rnn_tanh"}


@rule(layers.Bidirectional, arguments=True, masks=True)
def bidirectional(builder, layer, inputs, call):
    x, states, mask = sequences_states_mask(call)
    outputs = _outputs(builder, layer, x, states, mask, call)
    if layer.return_sequences:
        for output in outputs[: 1 if layer.merge_mode else 2]:
            builder.masks.set(output, mask_to_hand_on(x, call))
    return outputs


def _outputs(builder, layer, x, states, mask, call):
    directions = [_inside(builder, layer, name) for name in ("forward_layer", "backward_layer")]
    if layer.return_state and layer.stateful:
        raise LoweringError("states that are kept and returned, of which Keras makes no mask")
    for direction in directions:
        for name in ("return_sequences", "return_state", "stateful"):
            if getattr(direction, name) != getattr(layer, name):
                raise LoweringError(f"{name} of one direction alone")
    count = 0 if states is None else len(states) // 2
    halves = (None, None) if states is None else (states[:count], states[count:])
    # torch's kernel knows no masks, and both directions share what it does besides.
    one_call = mask is None and not layer.stateful and _is_one_call(builder, directions, call)
    if one_call and not _may_be_read_apart(layer, directions):
        return _both_at_once(builder, layer, directions, x, states, call)
    results = []
    for direction, half in zip(directions, halves, strict=True):
        inner = dataclasses.replace(call, name=f"{call.name}_{direction.name}")
        value = builder.cast(x, direction.compute_dtype)
        run = (
            run_images
            if keras_layers.acts_as(unrecorded(direction)) in CONVOLUTIONAL
            else run_layer
        )
        results.append(run(builder, direction, value, half, mask, inner))
    (forward, *kept), (backward, *kept_backward) = results
    if layer.return_sequences:  # it ran from the end: its steps in the order of the forward ones
        backward = backward.with_node(builder.call(torch.flip, backward.node, (1,)))
    merged = _merged(builder, layer, forward, backward, call)
    return [*merged, *kept, *kept_backward]


def _inside(builder, layer, name):
    """One direction's layer, as a `Recorded` one."""
    direction = unrecorded(getattr(layer, name))
    if keras_layers.acts_as(direction) not in (*KINDS, layers.RNN, *CONVOLUTIONAL):
        raise LoweringError(f"{direction.name} ({type(direction).__name__}) in a direction")
    reason = why_as_it_is(direction, builder.reads)
    if reason is not None:
        raise LoweringError(f"{direction.name}: {reason}")
    return Recorded(direction, builder.reads)


def _merged(builder, layer, forward, backward, call):
    """The outputs of both directions as the layer merges them: a list of `Value`."""
    forward, backward = (builder.to(value, layer.compute_dtype) for value in (forward, backward))
    if layer.merge_mode is None:
        return [forward, backward]
    pair, name = (forward.node, backward.node), call.name
    if layer.merge_mode == "concat":
        return [forward.with_node(builder.call(torch.cat, pair, -1, name=name))]
    if layer.merge_mode == "mul":
        return [forward.with_node(builder.call(torch.mul, *pair, name=name))]
    if layer.merge_mode not in ("sum", "ave"):
        raise LoweringError(f"merge_mode={layer.merge_mode!r}")
    node = builder.call(torch.add, *pair, name=name)
    if layer.merge_mode == "ave":
        node = builder.call(torch.div, node, 2)
    return [forward.with_node(node)]


def _may_be_read_apart(layer, directions):
    """Whether one direction's weights may have no gradient, which all of one call have.

    On a GPU Keras, too, computes both directions by one call.
    """
    on_cpu = directions[0].cell.kernel.value.device.type == "cpu"
    return on_cpu and (layer.return_state or layer.merge_mode is None)


def _is_one_call(builder, directions, call):
    """Whether both directions are one call of a torch kernel."""
    kinds = {keras_layers.acts_as(unrecorded(direction)) for direction in directions}
    if len(kinds) > 1 or not kinds <= KINDS.keys():
        return False
    if [direction.go_backwards for direction in directions] != [False, True]:
        return False
    cells = [cells_of(builder, direction)[0] for direction in directions]
    for direction, cell in zip(directions, cells, strict=True):
        refuse_what_keras_refuses(direction, [cell], None, call)
        # Keras's own functions, not others of these names.
        plain = cell.activation is activations.tanh
        gate = getattr(cell, "recurrent_activation", activations.sigmoid)
        if not plain or gate is not activations.sigmoid:
            return False
        if cell.dropout or cell.recurrent_dropout or direction.stateful:
            return False
        if not getattr(cell, "reset_after", True):
            return False
    # The kernel takes one size for both directions.
    same = ("units", "use_bias", "compute_dtype")
    return all(getattr(cells[0], name) == getattr(cells[1], name) for name in same)


def _both_at_once(builder, layer, directions, x, states, call):
    (kind,) = {KINDS[keras_layers.acts_as(unrecorded(direction))] for direction in directions}
    cells = [cells_of(builder, direction)[0] for direction in directions]
    dtype = cells[0].compute_dtype
    x = floats_for(builder, builder.cast(x, dtype), dtype)
    if x.rank != 3:
        raise LoweringError(f"of {x.rank} axes")
    x = with_features_of(builder, cells[0], x, call)
    said = {"sequences": layer.return_sequences, "states": layer.return_state}
    said = {name: True for name, value in said.items() if value}
    if states is not None:
        said["initial"] = [builder.to(state, dtype).node for state in states]
    weights = [list(weights_of(builder, cell)) for cell in cells]
    concat = layer.merge_mode == "concat"
    result = builder.call(
        recurrent.bidirectional, kind, builder.keras_order(x), *weights,
        name=call.name if concat else None, **said,
    )  # fmt: skip
    rank = 3 if layer.return_sequences else 2
    kept = []
    if layer.return_state:
        count = 4 if kind == "lstm" else 2
        result, *kept = [builder.call(recurrent.item, result, n) for n in range(count + 1)]
    kept = [Value(state, 2, dtype) for state in kept]
    if concat:
        return [builder.to(Value(result, rank, dtype), layer.compute_dtype), *kept]
    halves = builder.call(torch.chunk, result, 2, -1)
    pair = [Value(builder.call(recurrent.item, halves, n), rank, dtype) for n in range(2)]
    return [*_merged(builder, layer, *pair, call), *kept]
