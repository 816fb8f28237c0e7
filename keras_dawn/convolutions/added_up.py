"""Tensors added up in float32."""

import torch

AT_ONCE = 2**18  # numbers of half precision that are put in float32 at a time


def added_up(products, count):
    """The sum of tensors of one shape and precision, in this precision.

    bfloat16 is added up in float32. No more is kept than the sum so far: a product is let go before
    the next one is asked for, and is put in float32 some rows at a time.

    Args:
        products: iterable of tensors, of which the first may be overwritten.
        count: int, how many.
    """
    total = dtype = None
    for product in products:
        if total is None:
            dtype = product.dtype
            # Of two products the sum is rounded at once.
            in_float32 = count > 2 and dtype is torch.bfloat16
            total = product.float() if in_float32 else product
        elif dtype is torch.bfloat16:
            _add(total, product)
        else:
            total.add_(product)
        del product
    return total.to(dtype)


def _add(total, product):
    """Adds bfloat16 to a total of float32, or of bfloat16 that is rounded once."""
    rows = max(1, AT_ONCE // product[0].numel())
    for some, part in zip(total.split(rows), product.split(rows), strict=True):
        some.copy_(some.float().add_(part))
