"""Second derivatives of recurrent layers where the kernel has none.

cuDNN's recurrent kernels cannot be differentiated twice, as a penalty on gradients wants. torch's
own, which are slower, can: they compute the first derivative where it is itself to be derived.
"""

import torch


def twice_differentiable(compute, outputs, inputs):
    """The outputs of cuDNN's kernel, with derivatives of every order.

    Args:
        compute: function that makes such outputs of such inputs, by cuDNN where that is enabled.
        outputs: tensors that it has made by cuDNN; list.
        inputs: tensors that it has made them of; list.

    Returns:
        list of the outputs. Their gradients are cuDNN's, but with `create_graph=True` torch's.
    """
    return list(_TwiceDifferentiable.apply(compute, len(outputs), *outputs, *inputs))


class _TwiceDifferentiable(torch.autograd.Function):
    """Hands gradients on to the kernel, or, where they are to be derived, past it."""

    @staticmethod
    def forward(compute, count, *tensors):
        return tuple(output.view_as(output) for output in tensors[:count])

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.compute, ctx.count, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[ctx.count :])

    @staticmethod
    def backward(ctx, *gradients):
        inputs = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, None, *gradients, *[None] * len(inputs)
        # Views: an input that another one was made of has its own gradient only.
        inputs = [tensor.view_as(tensor) for tensor in inputs]
        needed = [tensor for tensor in inputs if tensor.requires_grad]
        pairs = zip(_without_cudnn(ctx.compute, inputs), gradients, strict=True)
        outputs, given = zip(*(pair for pair in pairs if pair[1] is not None), strict=True)
        found = iter(torch.autograd.grad(outputs, needed, given, create_graph=True))
        past = [next(found) if tensor.requires_grad else None for tensor in inputs]
        return None, None, *[None] * ctx.count, *past


def _without_cudnn(compute, inputs):
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        return compute(*inputs)
    finally:
        torch.backends.cudnn.enabled = before
