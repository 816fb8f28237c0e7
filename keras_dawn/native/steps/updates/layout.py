"""An optimizer's state, laid out in memory as the weights are."""

from keras_dawn.native.lowering.layouts import AS_IS

import torch


def laid_out(leaf, variable):
    """torch's view of a state variable, element for element where the parameter has its own.

    Fused kernels walk through raw memory. A parameter need not be contiguous: Keras's
    `Orthogonal` gives a square kernel that is a transposed matrix.
    """
    parameter = leaf.tensor
    if leaf.transform == AS_IS and not _is_dense(parameter):
        parameter.data = parameter.data.contiguous()
    view = leaf.transform.share(variable.value)
    if view.stride() != parameter.stride():
        shape, stride = parameter.shape, parameter.stride()
        dense = torch.empty_strided(shape, stride, dtype=view.dtype, device=view.device)
        dense.copy_(view)
        variable.value.data = leaf.transform.undo(dense, tuple(variable.shape))
        view = dense
    return view


def _is_dense(tensor):
    """Whether a tensor's elements lie side by side, in whatever order of axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
