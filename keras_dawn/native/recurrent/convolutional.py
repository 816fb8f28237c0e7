"""ConvLSTM: an LSTM whose products are convolutions, in one to three dimensions."""

from keras_dawn.convolutions.convolve import is_to_be_derived, is_transformed
from keras_dawn.native.elementwise import FUNCTIONS
from keras_dawn.native.padding import pad_axes, same_padding
from keras_dawn.native.recurrent.loops import lstm_step, of_each_step
from keras_dawn.native.recurrent.sequences import Sequences

import torch

CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
BOUNDED = "sigmoid", "hard_sigmoid"  # whose values and slopes are finite, whatever comes


def conv_lstm(
    x, kernel, recurrent_kernel, bias=None, *, state_shape, channels_last=True, strides,
    dilation, padding="valid", activation="tanh", recurrent_activation="sigmoid", dropout=None,
    **options,
):  # fmt: skip
    """A Keras ConvLSTM.

    Args:
        x: `(batch, time, …, channels)` or, without `channels_last`, `(batch, time, channels, …)`.
        kernel: `(4 · filters, channels, …)`; recurrent_kernel: `(4 · filters, filters, …)`.
        bias: `(4 · filters,)` or `None`.
        state_shape: shape of a state without the batch, in the order of axes of `x`.
        strides, dilation, padding: of the inputs' convolution.
        activation, recurrent_activation, dropout, options: see `lstm`.

    Returns:
        As `lstm`; images have the order of axes of `x`.
    """
    run = Sequences(x, units=tuple(state_shape), count=2, **options)
    inputs, by_gate, of_states = run.drop(dropout)
    steps = inputs.flatten(0, 1)
    if by_gate is not None:
        # Each gate has inputs of its own: four groups of channels.
        gates = [(inputs * mask.unsqueeze(1)).flatten(0, 1) for mask in by_gate]
        steps = torch.cat([_channels_first(gate, channels_last) for gate in gates], 1)
    else:
        steps = _channels_first(steps, channels_last)
    groups = 1 if by_gate is None else 4
    size = kernel.shape[2:]
    # The inputs of all steps by one convolution; only the states' go step by step.
    outputs = _convolve(steps, kernel, bias, strides, dilation, groups, padding, size)
    outputs = outputs.unflatten(0, inputs.shape[:2])
    if of_states is not None:
        of_states = [_channels_first(mask, channels_last) for mask in of_states]
    ones = (1,) * len(size)

    kernel_of_states = of_each_step(recurrent_kernel)

    def sums(x, h):
        if h is zeros:
            return x
        groups = 1
        if of_states is not None:
            h, groups = torch.cat([h * mask for mask in of_states], 1), 4
        return x + _convolve(h, kernel_of_states(), None, ones, ones, groups, "same", size)

    run.initial = [_channels_first(state, channels_last) for state in run.initial]
    given = options.get("initial") is not None or options.get("memory") is not None
    # The first step's states of zeros are not convolved; a single step's are, for their gradient.
    zeros = run.initial[0] if not given and inputs.shape[1] > 1 else None
    functions = FUNCTIONS[activation], FUNCTIONS[recurrent_activation]
    if recurrent_activation in BOUNDED:
        step = _step(sums, *functions)
    else:
        step = lstm_step(lambda x, h: sums(x, h).chunk(4, 1), *functions)
    last = -1 if channels_last else None
    return run.loop(step, outputs.unbind(1), channel_axis=last)


def _step(sums, activation, recurrent_activation):
    """`lstm_step` with one activation for all of `sums(x, h)`, the candidate's too.

    The channels of one gate lie apart in memory: torch would activate them one by one.
    """

    def step(x, states):
        h, c = states
        gates = sums(x, h)
        if recurrent_activation is torch.sigmoid and _is_derived_once(gates):
            i, f, candidate, o = _Gates.apply(gates)
        else:
            i, f, _, o = recurrent_activation(gates).chunk(4, 1)
            candidate = gates.chunk(4, 1)[2]
        c = f * c + i * activation(candidate)
        return [o * activation(c), c]

    return step


def _is_derived_once(tensor):
    """Whether autograd keeps what a gradient needs, and nothing else differentiates or batches."""
    if torch.compiler.is_compiling() or is_transformed():
        return False
    return torch.is_grad_enabled() and tensor.requires_grad


class _Gates(torch.autograd.Function):
    """The sigmoid of three gates, and the candidate as it is; their gradients as one tensor."""

    @staticmethod
    def forward(ctx, gates):
        found = torch.sigmoid(gates)
        i, f, _, o = found.chunk(4, 1)
        ctx.save_for_backward(found, i, f, o)  # one memory; outputs have derivatives of their own
        return i, f, gates.chunk(4, 1)[2], o

    @staticmethod
    def backward(ctx, *changes):
        found, i, f, o = ctx.saved_tensors
        if any(map(is_to_be_derived, changes)):
            to_i, to_f, to_candidate, to_o = changes
            parts = to_i * i * (1 - i), to_f * f * (1 - f), to_candidate, to_o * o * (1 - o)
            return torch.cat(parts, 1)
        change = torch.ops.aten.sigmoid_backward(torch.cat(changes, 1), found)
        change.chunk(4, 1)[2].copy_(changes[2])
        return change


def _channels_first(images, channels_last):
    return images.movedim(-1, 1) if channels_last else images


def _convolve(images, kernel, bias, strides, dilation, groups, padding, size):
    pads = [(0, 0)] * len(size)
    if padding == "same":
        pads = [
            same_padding(*each)
            for each in zip(images.shape[2:], size, strides, dilation, strict=True)
        ]
    if any(before != after for before, after in pads):
        # torch's convolutions pad both sides alike.
        images, pads = pad_axes(images, pads), [(0, 0)] * len(size)
    function = CONVOLUTIONS[len(size)]
    return function(images, kernel, bias, strides, [pad for pad, _ in pads], dilation, groups)
