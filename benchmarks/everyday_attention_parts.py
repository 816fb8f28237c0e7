"""Multi-head attention by hand, with the weights of a Keras layer."""

import torch
import torch.nn.functional as F
from torch import nn


def added(mask, like):
    """A mask as numbers that are added to scores, made once for all layers; `None` stays."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill_(
        ~mask, -torch.inf
    )


class Attention(nn.Module):
    """Self-attention of several heads with a Keras layer's weights.

    Args:
        layer: `MultiHeadAttention`, built.
        fused: bool; torch's fused kernel, which on a CPU is slow where it drops scores, or written
            out.
    """

    @torch.no_grad()
    def __init__(self, layer, fused=True):
        super().__init__()
        self.fused, self.scale = fused, layer.query_dense.kernel.shape[-1] ** -0.5
        parts = [layer.query_dense, layer.key_dense, layer.value_dense]
        channels, self.heads, size = parts[0].kernel.shape
        self.rate = layer.dropout
        self.inputs = nn.Linear(channels, 3 * self.heads * size)
        self.outputs = nn.Linear(self.heads * size, channels)
        kernels = [part.kernel.value.flatten(1) for part in parts]
        self.inputs.weight.copy_(torch.cat(kernels, 1).T)
        self.inputs.bias.copy_(torch.cat([part.bias.value.flatten() for part in parts]))
        self.outputs.weight.copy_(layer.output_dense.kernel.value.flatten(0, 1).T)
        self.outputs.bias.copy_(layer.output_dense.bias.value)

    def forward(self, x, mask=None):
        parts = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        if self.fused:
            x = F.scaled_dot_product_attention(*parts, mask, rate)
        else:
            query, key, value = parts
            scores = (query * self.scale) @ key.mT
            if mask is not None:
                scores += mask
            scores = torch.softmax(scores, -1)
            x = (F.dropout(scores, rate) if rate else scores) @ value
        return self.outputs(x.transpose(1, 2).flatten(2))
