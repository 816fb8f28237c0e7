"""Gradients of several weights in one memory, which a step in place would change several times."""

import math

import torch


def take_apart(tensors):
    """Gives each tensor a gradient in memory of its own; to be called without gradients.

    torch hands out views where an operation's gradient is one for several of its inputs, as that
    of a sum over stacked weights is. What rescales gradients in place, by a momentum's form of
    the step or by clipping, would then rescale the others' with each.

    Args:
        tensors: list of different tensors, with a gradient or without.

    Returns:
        bool, whether some had one in common.

    Example:
        >>> weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
        >>> torch.stack(weights).sum(0).prod().backward()
        >>> take_apart(weights)
        True
        >>> weights[0].grad.mul_(2), weights[1].grad
        (tensor([4., 4.]), tensor([2., 2.]))
    """
    spans = []
    for number, tensor in enumerate(tensors):
        gradient = tensor.grad
        if gradient is not None and gradient.layout is torch.strided:
            spans.append((gradient.data_ptr(), number, gradient.nbytes))
    spans.sort()
    end, shared = 0, False
    for start, number, size in spans:
        if start < end:
            tensors[number].grad, shared = tensors[number].grad.clone(), True
        end = max(end, start + size)
    return shared


class Apart:
    """`take_apart` for the same tensors in every step.

    A graph in which no Python runs leaves the same gradients in one memory in every step: where
    none were in the first ones, nobody looks any more: it takes as long as a small layer.

    Args:
        tensors: list of different tensors.
        may_vary: bool, whether another step may compute otherwise.
    """

    def __init__(self, tensors, may_vary):
        self._tensors = tensors
        self._looks = math.inf if may_vary else 3

    @torch.no_grad()
    def __call__(self):
        if self._looks > 0:
            self._looks = math.inf if take_apart(self._tensors) else self._looks - 1
