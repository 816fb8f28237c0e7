"""Dropout and what else only happens in training, by chance."""

from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.rules import rule

import torch.nn.functional as F
from keras import layers


def _value_to_drop_from(builder, layer, inputs):
    """The layer's input, if torch's generator may do the draws."""
    if getattr(layer, "seed", None) is not None:
        raise LoweringError("a seed of its own, whose draws only Keras makes")
    if not is_float(inputs[0].dtype):
        raise LoweringError(f"of {inputs[0].dtype}")
    return builder.padded(inputs[0])


@rule(layers.Dropout)
def dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    value = _value_to_drop_from(builder, layer, inputs)
    if layer.noise_shape is not None:
        raise LoweringError(_OWN_DRAWS)
    node = builder.call(F.dropout, value.node, float(layer.rate), True, name=call.name)
    return value.with_node(node)


# Keras makes these draws from a generator of the layer's: other ones would be another result.
_OWN_DRAWS = "draws from a generator of its own, in training"


@rule(layers.SpatialDropout2D)
def spatial_dropout(builder, layer, inputs, call):
    if call.training and layer.rate > 0:
        raise LoweringError(_OWN_DRAWS)
    return inputs[0]


@rule("keras.src.applications.convnext.StochasticDepth")
def stochastic_depth(builder, layer, inputs, call):
    if call.training and layer.drop_path_rate > 0:
        raise LoweringError(_OWN_DRAWS)
    return inputs[0]


@rule(
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
def only_in_training(builder, layer, inputs, call):
    if call.training:
        raise LoweringError("in training")
    return inputs[0]
