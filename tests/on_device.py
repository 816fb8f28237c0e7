"""torch for tests: what it makes lies where Keras computes.

Keras keeps its variables on a GPU where there is one, and `fit` takes the batches there. A test
that calls a layer or a lowered module by itself has to bring tensors that are there, too:

    from tests.on_device import torch

is torch, and on a machine with a GPU `torch.randn` and the other functions below make the very
numbers that they make on a processor and put them on it. `torch.set_default_device` would do so
for the package as well, and hide each tensor that it forgets on the processor. What says where it
lies (`device=`, `out=`) stays there. Tests of data, which is read on the processor,
import torch itself.
"""

import functools
import types

import pytest
import torch as _torch

MAKERS = ("arange", "as_tensor", "empty", "eye", "full", "linspace", "ones")
MAKERS += ("rand", "randint", "randn", "randperm", "tensor", "zeros")


def on_gpu(make):
    """A function that makes tensors, on the GPU."""

    @functools.wraps(make)
    def made(*args, requires_grad=False, **kwargs):
        given = isinstance(args[0], _torch.Tensor) if args else False
        if given or {"device", "out"} & kwargs.keys():
            kwargs |= {"requires_grad": True} if requires_grad else {}
            return make(*args, **kwargs)
        tensor = make(*args, **kwargs).to("cuda")
        return tensor.requires_grad_() if requires_grad else tensor

    return made


class OnDevice(types.ModuleType):
    """torch, but for the functions that make tensors."""

    def __init__(self):
        super().__init__("torch")
        self.__dict__["replaced"] = {}
        self.__dict__.update({name: on_gpu(getattr(_torch, name)) for name in MAKERS})

    def __getattr__(self, name):
        return getattr(_torch, name)

    def __setattr__(self, name, value):  # what a test patches, the package has to see
        self.replaced.setdefault(name, getattr(_torch, name))
        setattr(_torch, name, value)

    def __delattr__(self, name):  # pytest takes what it has set off again
        setattr(_torch, name, self.replaced.pop(name))


ON_GPU = _torch.cuda.is_available()  # where sums come in other orders, and need more room
# For what is said of a processor alone, or would end the process on a GPU.
on_processor = pytest.mark.skipif(ON_GPU, reason="of a processor")
torch = OnDevice() if ON_GPU else _torch
