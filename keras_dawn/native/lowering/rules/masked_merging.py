"""Products and extremes of series with masks, which leave masked values out as Keras's do."""

import functools

import torch


def product_of_unmasked(tensors, masks):
    """The product, in which a masked factor counts as 1; 0 where all factors are masked.

    Args:
        tensors: list of tensors of numbers that broadcast to one shape.
        masks: list of a mask for each, of bool and without the last axis, or `None`.

    Example:
        >>> one, other = torch.tensor([[2.0], [3.0]]), torch.tensor([[5.0], [7.0]])
        >>> product_of_unmasked([one, other], [torch.tensor([True, False]), None])
        tensor([[10.],
                [ 7.]])
    """
    spread = _spread(tensors, masks)
    factors = [
        tensor if mask is None else torch.where(mask, tensor, 1)
        for tensor, mask in zip(tensors, spread, strict=True)
    ]
    product = functools.reduce(torch.mul, factors)
    if any(mask is None for mask in spread):
        return product
    return torch.where(functools.reduce(torch.logical_or, spread), product, 0)


def largest_of_unmasked(tensors, masks):
    """The largest of the values that are not masked; of tensors and masks as for the product."""
    return _extreme(torch.maximum, tensors, masks)


def smallest_of_unmasked(tensors, masks):
    """The smallest of the values that are not masked; of tensors and masks as for the product."""
    return _extreme(torch.minimum, tensors, masks)


def _extreme(join, tensors, masks):
    result, unmasked = None, None
    for tensor, mask in zip(tensors, _spread(tensors, masks), strict=True):
        if result is None:
            result, unmasked = tensor, mask
            continue
        # From Keras, which takes two at a time: one that is masked is the other's value.
        if mask is not None:
            tensor = torch.where(mask, tensor, result)
        if unmasked is not None:
            result = torch.where(unmasked, result, tensor)
        both = mask is not None and unmasked is not None
        unmasked = torch.logical_or(unmasked, mask) if both else None
        result = join(result, tensor)
    return result


def _spread(tensors, masks):
    """Each mask with its tensor's last axis."""
    return [
        None if mask is None else mask.unsqueeze(-1).expand_as(tensor)
        for tensor, mask in zip(tensors, masks, strict=True)
    ]
