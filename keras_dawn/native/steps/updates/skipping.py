"""Steps that are taken back on the device."""

import contextlib

import torch


@contextlib.contextmanager
def unless(skip, tensors):
    """What is written to tensors in this context is taken back, where a device's flag says so.

    Args:
        skip: float32 tensor of one element, 0 to leave things as they are then.
        tensors: list of tensors of one dtype on one device.
    """
    before = [torch.empty_like(tensor) for tensor in tensors]
    if tensors:
        torch._foreach_copy_(before, [tensor.detach() for tensor in tensors])
    yield
    if tensors:
        copy_where(skip, tensors, before)


def copy_where(flag, tensors, values):
    """Copies values into tensors if a flag on the device is not 0, without asking for it.

    torch has no such call for many tensors, but its fused SGD does it: in a first step the momentum
    buffers (`tensors`) become the gradients (`values`), unless `found_inf` says that something
    was infinite. Weights are needed too: `values` again, which the rate of 0 leaves as they are.
    """
    torch._fused_sgd_(
        values,
        values,
        [tensor.detach() for tensor in tensors],
        weight_decay=0.0,
        momentum=1.0,
        lr=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=True,
        found_inf=(flag == 0).to(torch.float32).view(1),
    )
