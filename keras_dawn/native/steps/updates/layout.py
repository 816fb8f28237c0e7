"""An optimizer's state, laid out in memory as the weights are."""

from keras_dawn.native.lowering.layouts import AS_IS

import torch

WORTH_A_VIEW = 2**14  # elements: copying fewer takes no longer than making views


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


def in_memory_order(*lists):
    """The same tensors as vectors in the order of memory, where they do not lie in that of axes.

    torch's fused kernels for a CPU copy tensors that are not contiguous, such as kernels of
    convolutions with their channels innermost: three times the time of the step itself.

    Args:
        lists: lists of tensors, or empty ones; those at one place are taken element by element.

    Returns:
        The lists, with vectors at the places where all of them lie alike.
    """
    found = [list(one) for one in lists]
    filled = [one for one in found if one]
    for place, first in enumerate(filled[0]):
        if first.numel() < WORTH_A_VIEW or first.is_contiguous() or first.device.type != "cpu":
            continue
        tensors = [one[place] for one in filled]
        if all(one.stride() == first.stride() for one in tensors) and _is_dense(first):
            for one in filled:
                one[place] = one[place].as_strided((first.numel(),), (1,))
    return found


def _is_dense(tensor):
    """Whether a tensor's elements lie side by side, in whatever order of axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
