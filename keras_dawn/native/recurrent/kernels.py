"""torch's own recurrent kernels (oneDNN's on a CPU, cuDNN's on a GPU) on Keras's weights.

Weights come as torch lays them out, `(gates · units, features)`, in Keras's order of gates: LSTM's
is torch's, GRU's update and reset gate change places. Keras's second bias is zero but in a GRU.
"""

import contextlib
import functools

from keras_dawn.foundation.precision import HALF
from keras_dawn.foundation.silence import silenced
from keras_dawn.native.recurrent.second_derivatives import twice_differentiable

import torch

_known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
_ONEDNN_HAS_BFLOAT16 = torch.backends.mkldnn.is_available() and _known is not None and _known()


class Kernel:
    """One direction of an LSTM, a GRU or a simple recurrence over all steps at once.

    Args:
        kind: `"lstm"`, `"gru"`, `"rnn_tanh"` or `"rnn_relu"`.
        kernel, recurrent_kernel: weights `(gates · units, features)` and `(gates · units, units)`.
        bias: `(gates · units,)`, for a GRU `(2, gates · units)`, or `None`.
    """

    def __init__(self, kind, kernel, recurrent_kernel, bias):
        self.kind = kind
        self.kernel, self.recurrent_kernel, self.bias = kernel, recurrent_kernel, bias

    def run(self, x, states, hold=None):
        """Outputs `(batch, time, units)` and the states after the last step.

        Args:
            x: `(batch, time, features)`.
            states: list of `(batch, units)`: hidden state and, of an LSTM, cell state.
            hold: `(batch, time)` of bool, the steps that leave an LSTM's cell state as it is
                (their outputs mean nothing), or `None`.
        """
        kernel = self.kernel
        if hold is not None:
            x, kernel = _holding(x, kernel, hold)
        weights = self._weights(kernel)
        states = [state.unsqueeze(0).contiguous() for state in states]  # cuDNN insists
        outputs, last = call(self.kind, x, states, weights, self.bias is not None)
        return outputs, [state.squeeze(0) for state in last]

    def weights(self):
        """The weights as torch's functions take them."""
        return self._weights(self.kernel)

    def _weights(self, kernel):
        weights = [kernel, self.recurrent_kernel]
        if self.kind == "gru":
            weights = [_reset_first(weight) for weight in weights]
        if self.bias is None:
            return weights
        if self.kind == "gru":
            return [*weights, *_reset_first(self.bias, 1).unbind(0)]
        return [*weights, self.bias, torch.zeros_like(self.bias)]


def call(kind, x, states, weights, biased, bidirectional=False):
    """torch's function of a kind: `(outputs, list of the last states)`."""
    rows, features = weights[0].shape
    if x.shape[-1] != features:  # oneDNN would compute something without a gradient
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({x.shape[:-1].numel()}x{x.shape[-1]} and "
            f"{features}x{rows})"
        )
    inputs = [x, *states, *weights]
    compute = functools.partial(_compute, kind, len(states), biased, bidirectional)
    dtype = x.dtype
    if dtype in HALF and not x.is_cuda and torch.is_grad_enabled() and not _adds_up(kind, dtype):
        found = [each.to(dtype) for each in compute(*[each.float() for each in inputs])]
    else:
        with weights_may_lie_apart() if x.is_cuda else contextlib.nullcontext():
            found = compute(*inputs)
    if _by_cudnn(x) and found[0].requires_grad:
        found = twice_differentiable(compute, found, inputs)
    return found[0], found[1:]


def _compute(kind, count, biased, bidirectional, x, *tensors):
    states, weights = tensors[:count], tensors[count:]
    states = states if kind == "lstm" else states[0]
    training = torch.is_grad_enabled()  # cuDNN keeps what the backward pass needs only then
    function = getattr(torch._VF, kind)
    return [*function(x, states, weights, biased, 1, 0.0, training, bidirectional, True)]


def _adds_up(kind, dtype):
    """Whether a CPU's kernel in half precision adds up the gradients of all steps in float32.

    oneDNN's does, of an LSTM. torch's own go step by step and lose those of many in half precision.
    """
    if kind != "lstm" or dtype != torch.bfloat16 or not _ONEDNN_HAS_BFLOAT16:
        return False
    return torch.compiler.is_compiling() or torch.backends.mkldnn.enabled


def _by_cudnn(x):
    """Whether a kernel is cuDNN's, in a way that is not compiled (which derives it once)."""
    return x.is_cuda and torch.backends.cudnn.enabled and not torch.compiler.is_compiling()


def weights_may_lie_apart():
    """Each weight is a Keras variable with memory of its own: cuDNN puts them together in the call.

    torch warns of it in every call, and advises a method that only `torch.nn.LSTM` has.
    """
    return silenced("RNN module weights are not part of single contiguous chunk of memory")


def _reset_first(weight, axis=0):
    """Keras's update, reset and candidate gate as torch's reset, update and candidate."""
    update, reset, candidate = weight.chunk(3, axis)
    return torch.cat((reset, update, candidate), axis)


# So large that its sigmoid is exactly 1 in every dtype, and that of its negative exactly 0.
_FAR = 1e4


def _holding(x, kernel, hold):
    """Input and weights with one feature more, which shuts the input gate and opens the forget one.

    The kernels only return the cell state after the last step. Where a sequence ends before, its
    other steps hold it: `c = 1 · c + 0 · …`, and no gradient leaves the cell state.
    """
    units = kernel.shape[0] // 4
    flag = kernel.new_zeros(kernel.shape[0], 1)
    flag[:units] = -_FAR
    flag[units : 2 * units] = _FAR
    # A masked step may hold anything, and 0 · inf is not 0.
    x = x.masked_fill(hold.unsqueeze(2), 0.0)
    return torch.cat((x, hold.unsqueeze(2).to(x.dtype)), 2), torch.cat((kernel, flag), 1)
