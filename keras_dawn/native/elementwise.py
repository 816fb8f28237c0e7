"""Activations that work number by number: Keras's functions and torch's, and torch's by name."""

import torch
import torch.nn.functional as F
from keras import activations

ELEMENTWISE = {
    activations.relu: torch.relu,
    activations.relu6: F.relu6,
    activations.sigmoid: torch.sigmoid,
    activations.tanh: torch.tanh,
    activations.silu: F.silu,
    activations.elu: F.elu,
    activations.selu: torch.selu,
    activations.celu: torch.celu,
    activations.gelu: F.gelu,
    activations.softplus: F.softplus,
    activations.softsign: F.softsign,
    activations.mish: F.mish,
    activations.exponential: torch.exp,
    activations.hard_sigmoid: F.hardsigmoid,
    activations.hard_silu: F.hardswish,
    activations.hard_tanh: F.hardtanh,
    activations.hard_shrink: F.hardshrink,
    activations.soft_shrink: F.softshrink,
    activations.tanh_shrink: F.tanhshrink,
    activations.log_sigmoid: F.logsigmoid,
}


def _linear(x):
    return x


# As the code of a recurrent layer says them.
FUNCTIONS = {function.__name__: of_torch for function, of_torch in ELEMENTWISE.items()}
FUNCTIONS["linear"] = _linear
