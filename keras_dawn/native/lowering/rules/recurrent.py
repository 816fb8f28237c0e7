"""Recurrent layers: LSTM, GRU, SimpleRNN and their cells inside an RNN, stacked too."""

from keras_dawn.foundation import keras_layers
from keras_dawn.native import recurrent
from keras_dawn.native.elementwise import FUNCTIONS
from keras_dawn.native.lowering.checked_sizes import checked
from keras_dawn.native.lowering.keras_callables import title
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.layouts import AS_IS, DENSE
from keras_dawn.native.lowering.reads import Recorded, unrecorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch
from keras import activations, layers

CELLS = {
    layers.LSTMCell: (recurrent.lstm, layers.LSTMCell.call),
    layers.GRUCell: (recurrent.gru, layers.GRUCell.call),
    layers.SimpleRNNCell: (recurrent.simple_rnn, layers.SimpleRNNCell.call),
}


@rule(layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN, arguments=True, masks=True)
def recurrence(builder, layer, inputs, call):
    return outputs_of(run_layer, builder, layer, call)


def outputs_of(run, builder, layer, call):
    """A recurrent layer's outputs by `run_layer` or its like; sequences keep their mask."""
    x, states, mask = sequences_states_mask(call)
    outputs = run(builder, layer, x, states, mask, call)
    if layer.return_sequences:
        builder.masks.set(outputs[0], mask_to_hand_on(x, call))
    elif len(outputs) > 1 and builder.for_one_layer and not _shares_state(layer):
        # The output is the last state, too. Keras hands out two tensors, of which Python of the
        # user's may change one in place.
        outputs[0] = outputs[0].with_node(builder.call(torch.clone, outputs[0].node))
    return outputs


def _shares_state(layer):
    """Whether Keras hands out the last state itself as the output."""
    return layer.unroll or keras_layers.acts_as(unrecorded(layer)) in (layers.LSTM, layers.GRU)


def sequences_states_mask(call):
    """What a recurrent layer is called with: `Value`, list of `Value` or `None`, mask's node."""
    x, states, mask = (call.arguments[name] for name in ("sequences", "initial_state", "mask"))
    if not isinstance(x, Value):
        raise LoweringError("several tensors in place of one sequence")
    if states is not None:
        states = keras.tree.flatten(states)
        if not all(isinstance(state, Value) for state in states):
            raise LoweringError("initial states that are no tensors")
    if isinstance(mask, Value):
        if mask.rank != 2:
            raise LoweringError(f"a mask of {mask.rank} axes")
        mask = mask.node
    return x, states, mask


def mask_to_hand_on(x, call):
    """The mask of an output with an axis of time: the one given by name, or the input's."""
    given = call.kwargs.get("mask")
    return given.node if isinstance(given, Value) else x.mask


def run_layer(builder, layer, x, states, mask, call):
    """The outputs of a recurrent layer of Keras's, as a list of `Value`.

    Args:
        x: `Value` `(batch, time, features)` in the layer's dtype.
        states: flat list of initial states, `Value`s, or `None`.
        mask: node of the mask, or `None`.
    """
    dtype = layer.compute_dtype
    x = floats_for(builder, x, dtype)
    if x.rank != 3:
        raise LoweringError(f"of {x.rank} axes")
    cells = cells_of(builder, layer)
    refuse_what_keras_refuses(layer, cells, mask, call)
    x = with_features_of(builder, cells[0], x, call)
    states = None if states is None else [_like(builder, state, dtype).node for state in states]
    memory = states_that_are_kept(builder, layer)
    node, last = builder.keras_order(x), []
    for number, cell in enumerate(cells):
        final = number == len(cells) - 1
        count = len(keras.tree.flatten(cell.state_size))
        options = {
            "initial": None if states is None else states[len(last) : len(last) + count],
            "mask": mask,
            "sequences": layer.return_sequences or not final,
            "states": layer.return_state,
            "backwards": layer.go_backwards and number == 0,
            "zero_masked": layer.zero_output_for_mask and final,
            "memory": None if memory is None else memory[len(last) : len(last) + count],
            "dropout": dropout_of(cell, call.training),
        }
        name = call.name if len(cells) == 1 else f"{call.name}_{cell.name}"
        result = run_cell(builder, cell, node, options, name)
        # The first cell reads from the end and returns its steps in that order: so the others read.
        if layer.go_backwards and number == 0 and mask is not None:
            mask = builder.call(backwards, mask)
        node, kept = result, [None] * count
        if layer.return_state:
            node, *kept = [
                builder.call(recurrent.item, result, index) for index in range(count + 1)
            ]
        last += kept
    output = Value(node, 3 if layer.return_sequences else 2, dtype)
    return [output, *[Value(state, 2, dtype) for state in last if state is not None]]


def backwards(mask):
    """A mask `(batch, time)`, or `None`, with its last step first."""
    return None if mask is None else mask.flip(1)


def floats_for(builder, x, dtype):
    """The sequences `x`, which have to be in the layer's dtype."""
    if x.dtype != dtype:
        raise LoweringError(f"of {x.dtype}")
    return builder.to(x, dtype)  # if it is only known when it runs


def with_features_of(builder, cell, x, call):
    """The sequences `x`, refused where a cell's weights are for another number of features."""
    return checked(builder, x, call.shapes[0], (None, None, cell.kernel.shape[0]), call.name)


def _like(builder, value, dtype):
    if value.rank != 2:
        raise LoweringError(f"an initial state of {value.rank} axes")
    return builder.to(value, dtype)


def cells_of(builder, layer):
    """The cells of an RNN in the order of their calls, as `Recorded` ones.

    Raises:
        LoweringError: there is no form in torch for one.
    """
    outer = layer.cell
    several = type(outer) is layers.StackedRNNCells
    cells = list(Recorded(outer, builder.reads).cells) if several else [outer]
    if several and len(cells) == 1:
        raise LoweringError("a stack of one cell")
    for cell in [outer, *cells]:
        if not isinstance(cell, keras.Layer):
            raise LoweringError(f"the cell {title(cell)}")
        reason = why_as_it_is(cell, builder.reads)
        if reason is None and cell.compute_dtype != layer.compute_dtype:
            reason = "another dtype"
        if reason is not None:
            raise LoweringError(f"{cell.name}: {reason}")
    for cell in cells:
        if type(cell) not in CELLS or type(cell).call is not CELLS[type(cell)][1]:
            raise LoweringError(f"the cell {cell.name} ({type(cell).__name__})")
    return [Recorded(cell, builder.reads) for cell in cells]


def refuse_what_keras_refuses(layer, cells, mask, call):
    """Raises `LoweringError` where Keras raises, or computes something else than it says."""
    if layer.unroll and layer.go_backwards and mask is not None:
        raise LoweringError("unroll and go_backwards with a mask")
    if layer.unroll and call.shapes[0][1] is None:
        raise LoweringError("unroll without a known number of steps")
    quick = getattr(layer, "use_cudnn", False)  # of LSTM and GRU
    for cell in cells:
        if 1.0 in (cell.dropout, cell.recurrent_dropout):
            raise LoweringError("a dropout of 1")
        alone = getattr(cell, "dropout_mask_count", None) and not cell.recurrent_dropout
        if quick and call.training and cell.dropout and alone:
            raise LoweringError("implementation=1 with dropout")
        slow = mask is not None or cell.recurrent_dropout
        if quick is True and (slow or not getattr(cell, "reset_after", True)):
            raise LoweringError("use_cudnn=True")


def dropout_of(cell, training):
    """What `lstm` and its like are told of dropout, or `None`."""
    rates = cell.dropout, cell.recurrent_dropout
    if not any(rates):
        return None
    if cell.seed is not None:
        raise LoweringError("a seed of its own, whose draws only Keras makes")
    # How many masks Keras draws was decided when the cell was made, and it computes with what
    # `implementation` says now: where the two no longer fit, only Keras knows what it does.
    masks = getattr(cell, "dropout_mask_count", None) or 0
    if getattr(cell, "implementation", 2) != 1 and isinstance(unrecorded(cell), _WITH_GATES):
        if masks or rates[1]:
            raise LoweringError("settings of dropout that were changed")
    elif isinstance(unrecorded(cell), _WITH_GATES) and not masks:
        raise LoweringError("settings of dropout that were changed")
    return (*map(float, rates), masks, training)


_WITH_GATES = (layers.LSTMCell, layers.GRUCell)


def states_that_are_kept(builder, layer):
    """The nodes of a stateful layer's states, or `None`."""
    if not layer.stateful:
        return None
    variables = keras.tree.flatten(layer.states)
    if not all(isinstance(variable, keras.Variable) for variable in variables):
        raise LoweringError("states that were not made")
    builder.changes(*variables)
    return [builder.graph.get_attr(builder.share(variable, AS_IS)) for variable in variables]


def run_cell(builder, cell, x, options, name):
    """The node of one cell's recurrence over sequences."""
    options["activation"] = name_of(cell.activation)
    kind = type(unrecorded(cell))
    if kind is not layers.SimpleRNNCell:
        options["recurrent_activation"] = name_of(cell.recurrent_activation)
    if kind is layers.GRUCell:
        options["reset_after"] = cell.reset_after
    weights = weights_of(builder, cell)
    return builder.call(CELLS[kind][0], x, *weights, name=name, **without_defaults(options))


def weights_of(builder, cell):
    """The nodes of a cell's kernel, recurrent kernel and bias (or `None`), as torch wants them."""
    dtype = cell.compute_dtype
    check_bias(cell)
    kernels = [builder.parameter(w, DENSE, dtype) for w in (cell.kernel, cell.recurrent_kernel)]
    return *kernels, None if cell.bias is None else builder.parameter(cell.bias, AS_IS, dtype)


def check_bias(cell):
    """Raises `LoweringError` where only the way that Keras takes says whether a bias is added."""
    if bool(cell.use_bias) != (cell.bias is not None):
        raise LoweringError("use_bias that was changed")


def without_defaults(options):
    """The options of a call that have to be said."""
    return {key: value for key, value in options.items() if value != _DEFAULTS.get(key)}


_DEFAULTS = {
    "sequences": False, "states": False, "backwards": False, "zero_masked": False,
    "activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True,
    "channels_last": True, "padding": "valid",
}  # fmt: skip


def name_of(activation):
    """What `lstm` and its like call an activation."""
    name = getattr(activation, "__name__", None)
    if activation is None:
        return "linear"
    if name not in FUNCTIONS or getattr(activations, name, None) is not activation:
        raise LoweringError(f"the activation {title(activation)}")
    return name
