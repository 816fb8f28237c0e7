"""The tensors of a graph under construction, and what may go wrong with them."""

from keras_dawn.native.lowering.dtypes import is_float

import numpy as np
import torch


class LoweringError(ValueError):
    """A layer or its use has no torch equivalent here; the message says which and why."""


class TwoLayoutsError(LoweringError):
    """A variable is laid out in one way and wanted in another."""

    def __init__(self, variable):
        super().__init__(f"{variable.path} is used in two layouts")
        self.variable = variable


def reason_of(error):
    """What to say of an exception of a rule, which may be the user's."""
    return str(error) if isinstance(error, LoweringError) else f"{type(error).__name__}: {error}"


class Value:
    """A tensor in the lowered graph.

    Args:
        node: `torch.fx.Node`.
        rank: int.
        dtype: str, Keras's name of the dtype.
        torch_order: bool, whether a Keras `channels_last` image (or series, or volume) is held
            in torch's order.
        padding: one number for each axis of the image, zeros still to be added on both its sides
            by whoever reads it; a convolution adds them for nothing. These are the node's last
            axes.
        guessed: bool, whether `dtype` is only what Keras expected beforehand: an operation
            that is called as it is may return another one.

    Attributes:
        mask: node of Keras's mask of the tensor, or `None`; at run time it may still be `None`.
        unmasked: bool, whether a layer has taken the mask off.
    """

    def __init__(self, node, rank, dtype, torch_order=False, padding=None, guessed=False):
        self.node = node
        self.rank = rank
        self.dtype = dtype
        self.torch_order = torch_order
        self.padding = padding
        self.guessed = guessed
        self.mask = None
        self.unmasked = False

    def with_node(self, node, rank=None, dtype=None, torch_order=None):
        """A value made of this one, alike but for what is given; nothing is left to pad."""
        return Value(
            node,
            self.rank if rank is None else rank,
            self.dtype if dtype is None else dtype,
            self.torch_order if torch_order is None else torch_order,
            guessed=self.guessed and dtype is None,
        )


def float_value(value):
    """The `Value`, which a rule wants to hold floats; `LoweringError` where it does not."""
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return value


def is_array(argument):
    """Whether a call's argument is an array of numbers, of NumPy or torch, and so a tensor."""
    if isinstance(argument, np.ndarray):
        return argument.dtype.kind in "biuf"
    return isinstance(argument, torch.Tensor)


class AveragedTwiceError(Exception):
    """A normalisation that was lowered is also called as it is, later in the graph.

    Its own call averages at once and the graph after the step: the wrong way round.
    """

    def __init__(self, layer):
        super().__init__(layer.name)
        self.layer = layer
