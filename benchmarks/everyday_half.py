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
        self.gradients = list(map(torch.empty_like, self.weights))

    @torch.no_grad()
    def refresh(self):
        """Takes the weights as they are now."""
        torch._foreach_copy_(self.copies, self.weights)

    def __call__(self, *inputs, **named):
        inputs, named = keras.tree.map_structure(_half, (inputs, named))
        return self.network(*inputs, **named)

    def hand_gradients_back(self):
        """Gives the weights the copy's gradients, and forgets them there."""
        found = [half.grad for half in self.copies if half.grad is not None]
        used = [place for place, half in enumerate(self.copies) if half.grad is not None]
        wide = [self.gradients[place] for place in used]
        torch._foreach_copy_(wide, found)
        for place, gradient in zip(used, wide, strict=True):
            weight = self.weights[place]
            # A penalty has given the weight itself one, perhaps.
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
            self.copies[place].grad = None


def _half(tensor):
    return tensor.bfloat16() if tensor.is_floating_point() else tensor
