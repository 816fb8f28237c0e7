"""Gradients of several weights in one memory, which a step in place would change several times."""

import torch


def take_apart(tensors):
    """Gives each tensor a gradient in memory of its own; to be called without gradients.

    torch hands out views where an operation's gradient is one for several of its inputs, as that
    of a sum over stacked weights is. What rescales gradients in place, by a momentum's form of
    the step or by clipping, would then rescale the others' with each.

    Args:
        tensors: list of different tensors, with a gradient or without.

    Example:
        >>> weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
        >>> torch.stack(weights).sum(0).prod().backward()
        >>> take_apart(weights)
        >>> weights[0].grad.mul_(2), weights[1].grad
        (tensor([4., 4.]), tensor([2., 2.]))
    """
    spans = []
    for number, tensor in enumerate(tensors):
        gradient = tensor.grad
        if gradient is not None and gradient.layout is torch.strided:
            spans.append((gradient.data_ptr(), number, gradient.nbytes))
    spans.sort()
    end = 0
    for start, number, size in spans:
        if start < end:
            tensors[number].grad = tensors[number].grad.clone()
        end = max(end, start + size)
