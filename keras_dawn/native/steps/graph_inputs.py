"""A batch as the inputs of a lowered graph, and the graph's outputs as the model's."""

from keras_dawn.foundation import keras_masks, keras_models
from keras_dawn.foundation.device import moved
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.steps.beside import packed

import keras
import torch


def fits(tensors, symbolic):
    """Whether tensors have the shapes of symbolic inputs, where those are known."""
    if len(tensors) != len(symbolic):
        return False
    for x, expected in zip(tensors, symbolic, strict=True):
        if x.ndim != len(expected.shape):
            return False
        pairs = zip(x.shape[1:], expected.shape[1:], strict=True)
        if any(size is not None and size != found for found, size in pairs):
            return False
    return True


class OtherSizesError(LoweringError):
    """A batch of other sizes than a graph is for.

    Attributes:
        shapes: list of shapes with which the graph would take it too, open where the batch has
            another size; `None` where Keras takes no other sizes, or nothing is left of them.
    """

    def __init__(self, lowered, flat):
        super().__init__(
            f"its graph is for inputs of shape {_text(lowered.inputs)}, and it was given "
            f"{_text(flat)}"
        )
        self.shapes = opened(lowered.inputs, flat) if lowered.any_sizes else None


def _text(tensors):
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


def opened(symbolic, flat):
    """Shapes as of a graph's symbolic inputs, open where a batch has another size.

    `None` where another number of axes is given, or no size is the same.
    """
    if [len(tensor.shape) for tensor in symbolic] != [x.ndim for x in flat]:
        return None
    shapes = []
    for tensor, x in zip(symbolic, flat, strict=True):
        pairs = zip(tensor.shape[1:], x.shape[1:], strict=True)
        shapes.append((None, *[size if size == found else None for size, found in pairs]))
    return shapes if any(size is not None for shape in shapes for size in shape) else None


def graph_inputs(lowered, x, device):
    """The batch as a graph's inputs: flat, on the device, in the inputs' dtypes.

    Args:
        lowered: `Lowered` model.
        x: what the model is called with.
        device: `torch.device`.

    Raises:
        LoweringError: a batch that the graph is not for.
        ValueError: one that Keras refuses, with its message.
    """
    if isinstance(x, torch.Tensor) and (x.shape == lowered.last_shape or fits([x], lowered.inputs)):
        lowered.last_shape = x.shape
        dtype = lowered.input_dtypes[0]
        ready = x.dtype is dtype and x.device == device
        return [x if ready else moved(x, device, dtype)]
    flat = keras_models.flat_inputs(lowered.functional, x)  # Keras's walks take 100 µs
    if flat is not None and fits(flat, lowered.inputs):
        return _ready(flat, lowered, device)
    if len(keras.tree.flatten(x)) != len(lowered.functional.inputs):
        raise LoweringError("it was given another number of inputs")
    flat = keras_models.standardize_inputs(lowered.functional, x)
    if any(tensor is None for tensor in flat):
        raise LoweringError("an optional input is None")
    if not fits(flat, lowered.inputs):
        raise OtherSizesError(lowered, flat)
    return _ready(flat, lowered, device)


def _ready(flat, lowered, device):
    return [
        moved(tensor, device, dtype) if (tensor.dtype, tensor.device) != (dtype, device) else tensor
        for tensor, dtype in zip(flat, lowered.input_dtypes, strict=True)
    ]


def structured(lowered, outputs, masks):
    """A graph's outputs in the structure that `model(x)` returns, their masks attached."""
    flat = outputs if isinstance(outputs, tuple) else (outputs,)
    for tensor, mask in zip(flat, masks[0] if masks else (), strict=False):
        if mask is not None:
            keras_masks.attach_mask(tensor, mask)
    if lowered.output_structure == 0:
        return outputs
    return packed(lowered.output_structure, iter(flat))
