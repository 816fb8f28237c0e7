"""The backward pass of a step's loss, past what torch's Python looks at before each one."""

import functools

import torch
from torch.autograd import graph

# What `Tensor.backward` comes to, after imports and looks at shapes that take as long as a small
# layer does; `None` in a torch that has it no more.
_run = getattr(graph, "_engine_run_backward", None)


def backward(loss):
    """`loss.backward()`.

    Args:
        loss: tensor; one of a subclass, or of more than one number, is left to its own method.
    """
    if _run is None or type(loss) is not torch.Tensor or loss.ndim:
        loss.backward()
        return
    one = _one(loss.dtype) if loss.device.type == "cpu" else torch.ones_like(loss)
    _run((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _one(dtype):
    one = _ones(dtype)
    if one._version:  # a hook of somebody's has written to it
        _ones.cache_clear()
        one = _ones(dtype)
    return one


@functools.cache
def _ones(dtype):
    with torch.inference_mode(False):
        return torch.ones((), dtype=dtype, device="cpu")
