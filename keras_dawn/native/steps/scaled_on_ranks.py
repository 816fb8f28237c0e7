"""The backward pass of a scaled loss on several ranks, in the range that one process has."""

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_layers

import keras
import torch
from keras import layers

# What reads its weights in float32 in the midst of float16.
_WIDE = (
    layers.TorchModuleWrapper,
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.Embedding,
)


class ScaledOnRanks:
    """A `backward` whose gradients overflow where those of one process do.

    A rank's mean is over fewer images: the gradients of each would be larger than on one process,
    and those of float16 overflow sooner. So the loss is that of the rank's share in the mean over
    all images. The weights' gradients are sums over a part of the images, which have more room
    than those over the whole batch: where they would be float16, their sum over the ranks is
    made so.

    Args:
        model: `keras.Model`.
        leaves: list of `Leaf`, those that are trained.
        tensors: all tensors that a gradient may come to.
        backward: function of a loss that leaves gradients in them, each in memory of its own.
    """

    def __init__(self, model, leaves, tensors, backward):
        half = {
            id(variable)
            for layer in keras_layers.all_layers(model)
            if isinstance(layer, keras.Layer) and _is_half(layer)
            for variable in keras_layers.own_weights(layer)
        }
        self._half = [leaf.tensor for leaf in leaves if id(leaf.variable) in half]
        self._tensors, self._backward = tensors, backward

    def __call__(self, loss):
        """`backward(loss)`, of a 0-d tensor; the gradients are averaged in it."""
        ranks = current().world_size
        self._backward(loss / ranks)
        # By the gradients: a variable and a leaf may be the same tensor.
        gradients = _gradients(self._tensors)
        if gradients:
            torch._foreach_mul_(gradients, ranks)
        wide = _gradients(self._half)
        if wide:
            half = [torch.empty_like(gradient, dtype=torch.float16) for gradient in wide]
            torch._foreach_copy_(half, wide)
            torch._foreach_copy_(wide, half)


def _is_half(layer):
    return layer.compute_dtype == "float16" and not isinstance(layer, _WIDE)


def _gradients(tensors):
    found = {id(t.grad): t.grad for t in tensors if t.grad is not None}
    return list(found.values())
