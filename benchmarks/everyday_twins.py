"""What everyday models and their twins by hand share: the case, its sizes, copies of weights."""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much larger a case is than its smallest form: factors of samples and of channels."""

    samples: int = 1
    width: int = 1


SMALL = Scale()  # so small that Python is what takes time
LARGE = {"cpu": Scale(4, 2), "cuda": Scale(16, 8)}[DEVICE]  # so large that arithmetic is


def as_it_is(outputs):
    return outputs


def softmax(outputs):
    return torch.softmax(outputs, -1)


@dataclasses.dataclass(frozen=True)
class Case:
    """One model twice.

    Args:
        name: str.
        keras_model: function that makes the Keras model, compiled.
        twin: class of the network by hand, or `None`; made from a Keras model, whose weights it
            copies. It has `variants`, arguments by name, where more than one form may be the
            quickest (`everyday_variants.py`), and `penalty()` where the weights add to the loss.
        loss: function `(outputs, targets) -> loss` of the loop by hand.
        counters: classes of what the loop counts, by the names of the Keras model's metrics.
        batch: function that makes `(inputs, targets)`; several inputs are a tuple.
        optimizer: function `parameters -> (optimizer, schedule or None)` of the loop; it may get
            groups of parameters.
        prediction: function of the twin's outputs that gives what Keras's `predict` gives.
        by_chance: whether training draws random numbers, so that losses are alike on average only.
        own_python: whether the model keeps Python of its own, and so steps layer by layer.
    """

    name: str
    keras_model: Callable
    twin: Callable
    loss: Callable
    counters: dict
    batch: Callable
    optimizer: Callable
    _: dataclasses.KW_ONLY
    prediction: Callable = as_it_is
    by_chance: bool = False
    own_python: bool = False


@torch.no_grad()
def linear_of(layer):
    """The module of a `Dense`, or of a `Conv1D` that looks at one step."""
    kernel = layer.kernel.value
    kernel = kernel.squeeze(0) if kernel.ndim == 3 else kernel
    module = nn.Linear(*kernel.shape, bias=layer.bias is not None)
    module.weight.copy_(kernel.T)
    if layer.bias is not None:
        module.bias.copy_(layer.bias.value)
    return module


@torch.no_grad()
def norm_of(layer):
    """The module of a `LayerNormalization`."""
    module = nn.LayerNorm(layer.gamma.shape[0], layer.epsilon)
    module.weight.copy_(layer.gamma.value)
    module.bias.copy_(layer.beta.value)
    return module


@torch.no_grad()
def batch_norm_of(layer, kind=nn.BatchNorm2d):
    """The module of a `BatchNormalization`."""
    module = kind(*layer.gamma.shape, layer.epsilon, 1 - layer.momentum)
    module.num_batches_tracked = None  # counted for nothing where the momentum is given
    module.weight.copy_(layer.gamma.value)
    module.bias.copy_(layer.beta.value)
    return module


@torch.no_grad()
def convolution_of(layer, padding=0, rows=False):
    """The module of a `Conv1D`, `Conv2D` or `Conv3D` or of a `Conv2DTranspose`.

    Args:
        layer: the Keras layer, built.
        padding: int for each side, or "half" of the kernel.
        rows: bool; a `Conv1D` as a convolution of images of one row, channels_last.
    """
    kernel = layer.kernel.value
    kernel = kernel[None] if rows else kernel
    torch_kernel = kernel.permute(-1, -2, *range(kernel.ndim - 2))
    kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[kernel.ndim]
    transposed = type(layer).__name__.endswith("Transpose")
    kind = nn.ConvTranspose2d if transposed else kind
    outputs, inputs = torch_kernel.shape[:2][:: -1 if transposed else 1]
    first = (1,) * rows
    padding = tuple(size // 2 for size in torch_kernel.shape[2:]) if padding == "half" else padding
    module = kind(
        inputs, outputs, torch_kernel.shape[2:], first + layer.strides, padding,
        dilation=first + layer.dilation_rate, bias=layer.bias is not None,
    )  # fmt: skip
    module.weight.copy_(torch_kernel)
    if layer.bias is not None:
        module.bias.copy_(layer.bias.value)
    return module.to(memory_format=torch.channels_last) if rows else module


def embedding_of(layer):
    return nn.Embedding.from_pretrained(layer.embeddings.value.detach().clone(), freeze=False)


def all_of(model, kind, make):
    """The modules of all layers of one class, in the model's order."""
    return nn.ModuleList(make(layer) for layer in model.layers if type(layer) is kind)


def adam(rate):
    """Adam as Keras has it, fused, without a schedule."""
    return lambda parameters: (torch.optim.Adam(parameters, rate, eps=1e-7, fused=True), None)
