"""A network by hand that computes in bfloat16, its weights in float32: the second way to do so.

The first is `torch.autocast`, which casts each weight when an operation reads it. Here a copy of
the network is in bfloat16 as a whole, but for batch normalization's weights and statistics.
"""

import copy

import keras
import torch
from torch.nn.modules.batchnorm import _BatchNorm


class HalfCopy:
    """The copy, which computes what the network would.

    Args:
        network: `nn.Module` in float32, whose weights an optimizer changes.
    """

    def __init__(self, network):
        self.network = copy.deepcopy(network).to(torch.bfloat16)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.float()
        pairs = [
            pair
            for pair in zip(network.parameters(), self.network.parameters(), strict=True)
            if pair[0].requires_grad
        ]
        self.weights, self.copies = map(list, zip(*pairs, strict=True))

    @torch.no_grad()
    def refresh(self):
        """Takes the weights as they are now."""
        torch._foreach_copy_(self.copies, self.weights)

    def __call__(self, *inputs, **named):
        inputs, named = keras.tree.map_structure(_half, (inputs, named))
        return self.network(*inputs, **named)

    def hand_gradients_back(self):
        """Adds the copy's gradients to those of the weights, and forgets them."""
        for weight, half in zip(self.weights, self.copies, strict=True):
            if half.grad is not None:
                gradient = half.grad.float()
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
                half.grad = None


def _half(tensor):
    return tensor.bfloat16() if tensor.is_floating_point() else tensor
