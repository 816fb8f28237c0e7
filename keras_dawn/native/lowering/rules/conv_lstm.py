"""ConvLSTM1D, ConvLSTM2D and ConvLSTM3D."""

from keras_dawn.native import recurrent
from keras_dawn.native.lowering.checked_sizes import checked
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.layouts import AS_IS, Transform
from keras_dawn.native.lowering.reads import Recorded, unrecorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.recurrent import (
    check_bias,
    dropout_of,
    floats_for,
    name_of,
    outputs_of,
    refuse_what_keras_refuses,
    states_that_are_kept,
    without_defaults,
)
from keras_dawn.native.lowering.values import LoweringError, Value

from keras import layers

CONVOLUTIONAL = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


@rule(*CONVOLUTIONAL, arguments=True, masks=True)
def conv_lstm(builder, layer, inputs, call):
    return outputs_of(run_images, builder, layer, call)


def run_images(builder, layer, x, states, mask, call):
    """The outputs of a ConvLSTM as a list of `Value`; see `run_layer`."""
    dtype = layer.compute_dtype
    x = floats_for(builder, x, dtype)
    reason = why_as_it_is(layer.cell, builder.reads)
    cell = Recorded(unrecorded(layer.cell), builder.reads)
    if reason is not None or cell.compute_dtype != dtype:
        raise LoweringError(f"{cell.name}: {reason or 'another dtype'}")
    refuse_what_keras_refuses(layer, [cell], mask, call)
    step_shape = unrecorded(layer.cell).input_spec.shape  # Keras's own call takes no others
    x = checked(builder, x, call.shapes[0], (None, *step_shape), call.name)
    rank = cell.rank
    # (…, in, 4 · out) in Keras, (4 · out, in, …) in torch.
    kernel_order = Transform((rank + 1, rank, *range(rank)))
    weights = [
        builder.parameter(w, kernel_order, dtype) for w in (cell.kernel, cell.recurrent_kernel)
    ]
    check_bias(cell)
    bias = None if cell.bias is None else builder.parameter(cell.bias, AS_IS, dtype)
    if states is not None:
        states = [builder.keras_order(builder.to(state, dtype)) for state in states]
    options = {
        "state_shape": tuple(cell.compute_output_shape(step_shape)[0][1:]),
        "channels_last": cell.data_format == "channels_last",
        "strides": tuple(cell.strides),
        "dilation": tuple(cell.dilation_rate),
        "padding": cell.padding,
        "activation": name_of(cell.activation),
        "recurrent_activation": name_of(cell.recurrent_activation),
        "initial": states,
        "mask": mask,
        "sequences": layer.return_sequences,
        "states": layer.return_state,
        "backwards": layer.go_backwards,
        "zero_masked": layer.zero_output_for_mask,
        "memory": states_that_are_kept(builder, layer),
        "dropout": dropout_of(cell, call.training),
    }
    node, kept = builder.keras_order(x), []
    said = without_defaults(options)
    node = builder.call(recurrent.conv_lstm, node, *weights, bias, name=call.name, **said)
    if layer.return_state:
        node, *kept = [builder.call(recurrent.item, node, index) for index in range(3)]
    output = Value(node, rank + 2 + layer.return_sequences, dtype)
    return [output, *[Value(state, rank + 2, dtype) for state in kept]]
