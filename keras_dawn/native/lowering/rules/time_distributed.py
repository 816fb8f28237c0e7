"""A layer that is applied to every step of a sequence, called once for all steps.

Keras calls the layer step by step. Where each sample of a batch is computed for itself, the steps
can be samples of a larger batch.
"""

from keras_dawn.foundation import keras_layers, keras_models
from keras_dawn.native.lowering.reads import unrecorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.resizing import repeat_axes
from keras_dawn.native.lowering.rules.shapes import crop, reshaped
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch
from keras import activations, layers

ALWAYS = {
    getattr(layers, name)
    for name in (
        "Dense", "EinsumDense", "Embedding", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D",
        "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Conv1DTranspose",
        "Conv2DTranspose", "Conv3DTranspose", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
        "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "GlobalAveragePooling1D",
        "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D",
        "GlobalMaxPooling2D", "GlobalMaxPooling3D", "ZeroPadding1D", "ZeroPadding2D",
        "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D",
        "UpSampling2D", "UpSampling3D", "Flatten", "Reshape", "Permute", "RepeatVector",
        "Identity", "Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax", "Rescaling",
        "LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization",
        "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate",
        "InputLayer",
    )
}  # fmt: skip
IN_EVALUATION = {
    getattr(layers, name)
    for name in (
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise",
        "GaussianDropout", "AlphaDropout", "BatchNormalization",
    )
}  # fmt: skip
RECURRENT = {layers.LSTM, layers.GRU, layers.SimpleRNN}


@rule(layers.TimeDistributed, arguments=True)
def time_distributed(builder, layer, inputs, call):
    value, inner = call.arguments["inputs"], unrecorded(layer.layer)
    shape = call.shapes[0]
    if call.arguments["mask"] is not None:
        builder.reads.note(inner, "call", inner.call)
        if keras_layers.takes(inner, "mask"):
            raise LoweringError(f"{inner.name} takes a mask of its own")
    if inner.compute_dtype != layer.compute_dtype:
        raise LoweringError(f"{inner.name}: another dtype")
    why = _why_not_at_once(builder, inner, call.training, len(shape) - 1)
    if why is not None:
        raise LoweringError(why)
    node = builder.keras_order(value)
    steps = Value(builder.call(torch.flatten, node, 0, 1), value.rank - 1, value.dtype)
    steps.guessed = value.guessed
    count = len(builder.fallbacks)
    outputs = builder.lower_inside(inner, (None, *shape[2:]), steps, call.training)
    if len(builder.fallbacks) > count:
        raise LoweringError(f"{builder.fallbacks[-1][0].name}: {builder.fallbacks[-1][1]}")
    if len(outputs) != 1:
        raise LoweringError(f"{inner.name} has several outputs")
    (output,) = outputs
    made = builder.keras_order(output)
    if builder.for_one_layer and _is_view_of(made, steps.node):
        made = builder.call(torch.clone, made)  # Keras stacks the steps: somebody may write into it
    result = builder.call(with_time, made, node, name=call.name)
    return output.with_node(result, rank=output.rank + 1, torch_order=False)


def with_time(steps, like):
    """`(batch · time, …)` as `(batch, time, …)`, with the first two axes of `like`."""
    return steps.unflatten(0, like.shape[:2])


_VIEWS = {
    "permute", "unflatten", "expand", torch.flatten, torch.squeeze, torch.unsqueeze, crop,
    repeat_axes, reshaped,
}  # fmt: skip


def _is_view_of(node, source):
    """Whether a node may be the memory of another one, which it comes from."""
    while node is not source and node.target in _VIEWS:
        node = node.args[0]
    return node is source


def _why_not_at_once(builder, layer, training, axes):
    """Why a step of a layer or model may depend on the others, or `None`.

    Args:
        axes: int, how many a step's input has.
    """
    functional = keras_models.functional_graph(layer)
    if functional is not None:
        parts = [(x.operation, x.input_tensors) for x in keras_models.nodes(functional)]
        reasons = (_why_not_at_once(builder, x, training, len(y[0].shape)) for x, y in parts)
        return next((reason for reason in reasons if reason is not None), None)
    kind = keras_layers.acts_as(layer)
    activation = builder.reads.attribute(layer, "activation")
    if isinstance(activation, keras.Layer):
        return _why_not_at_once(builder, activation, training, axes)
    if activation is not None and not _is_keras_s(activation):
        return f"{layer.name}: an activation that may look at all samples"
    if _is_along_the_batch(builder.reads.attribute(layer, "axis"), axes):
        return f"{layer.name}: along the axis of the batch"
    if kind in ALWAYS or (kind in IN_EVALUATION and not training):
        return None
    if kind in RECURRENT:
        for owner, name in (
            (layer, "stateful"), (layer.cell, "dropout"), (layer.cell, "recurrent_dropout")
        ):  # fmt: skip
            builder.reads.note(owner, name, getattr(owner, name))
            if getattr(owner, name):
                return f"{layer.name}: {name} in every step"
        return None
    return f"{layer.name} ({kind.__name__}), whose steps are not sure to be independent"


def _is_keras_s(activation):
    """Whether an activation is one of Keras's functions: all of them take each sample by itself."""
    return getattr(activations, getattr(activation, "__name__", ""), None) is activation


def _is_along_the_batch(axis, axes):
    """Whether a layer's `axis`, a number or several or `None`, has the first one in it."""
    numbers = axis if isinstance(axis, (list, tuple)) else (axis,)
    return any(number in (0, -axes) for number in numbers)
