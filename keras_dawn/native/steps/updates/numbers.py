"""An optimizer's hyper-parameters as numbers that a CUDA graph can follow."""

import torch


class MovingNumbers:
    """Hyper-parameters that become tensors on the device as soon as somebody changes them.

    What stays as it is remains a Python number, which the fused kernels take. What a callback
    moves from step to step is a 0-d float64 tensor from its first change on: a graph reads it at
    each replay. In float64, so that 1 − β is rounded once, as with Python numbers. What a schedule
    sets is one from the first step: a training that is resumed begins with another step, and would
    round it otherwise.

    Args:
        read: callable from a name to the present Python number, or `None`.
        device: torch device.
        kept: dict from names to 0-d tensors that the optimizer keeps itself.
        scheduled: callable that returns the names that schedules set.
    """

    def __init__(self, read, device, kept=None, scheduled=tuple):
        self._scheduled = scheduled
        self._read = read
        self._device = device
        self._kept = dict(kept or {})
        self._known = {}  # name → number, as of the last step
        self._tensors = {}

    def __call__(self, name):
        """The number, or the tensor where it moves; `None` where it is off."""
        if name not in self._known:
            self._known[name] = value = self._read(name)
            if name in self._scheduled():
                self._write(name, value)
        if self._known[name] is None:
            return None
        return self._tensors.get(name, self._known[name])

    def take_over(self):
        """Leaves to the optimizer's own code what the optimizer keeps on the device itself."""
        self._known |= {name: self._read(name) for name in self._kept}
        self._tensors |= self._kept

    def follow(self):
        """Takes up what was assigned since the last step, without waiting for the device."""
        for name, before in self._known.items():
            value = self._read(name)
            if value == before:
                continue
            self._known[name] = value
            self._write(name, value)

    def _write(self, name, value):
        if name in self._kept:
            self._tensors[name] = self._kept[name]  # the optimizer has written to it
            return
        if name not in self._tensors:
            self._tensors[name] = torch.zeros((), dtype=torch.float64, device=self._device)
        if value is not None:
            self._tensors[name].fill_(value)  # on the device: a graph goes on reading this memory

    def moving(self):
        """Names of the hyper-parameters that are tensors."""
        return self._tensors.keys()

    def signs(self):
        """What branches of the formulas may ask of the numbers that move."""
        return tuple(
            (name, value is None or ((value > 0) - (value < 0), value < 1))
            for name, value in self._known.items()
            if name in self._tensors
        )


def scale_(tensors, factor):
    """Multiplies tensors by a number, or by a 0-d tensor of any dtype."""
    torch._foreach_mul_(tensors, factor_for(tensors[0], factor))


def add_(tensors, others, factor):
    """tensors ← tensors + factor · others, for a number or a 0-d tensor of any dtype."""
    if isinstance(factor, torch.Tensor):
        others = torch._foreach_mul(others, factor_for(others[0], factor))
        torch._foreach_add_(tensors, others)
    else:
        torch._foreach_add_(tensors, others, alpha=factor)


def factor_for(tensor, factor):
    """A number as it is, a 0-d tensor in the dtype of `tensor`."""
    return factor.to(tensor.dtype) if isinstance(factor, torch.Tensor) else factor
