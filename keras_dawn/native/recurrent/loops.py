"""Recurrences step by step, for what torch's kernels do not compute.

That is: other activations than tanh and sigmoid, dropout of states, a GRU that resets its state
before the product, and masks together with these.
"""

from keras_dawn.foundation.precision import HALF

import torch


def loop(step, inputs, states, mask, sequences, zero_masked):
    """Applies a step over time, as Keras does.

    Args:
        step: function of an input and a list of states; returns the new states, of which the
            first is the output.
        inputs: iterable of one tensor a step.
        states: list of tensors.
        mask: `(batch, time)` of bool, steps to leave states and output as they are, or `None`.
        sequences: bool, whether the output of every step is returned, in axis 1.
        zero_masked: bool, whether the output of a masked step is 0.

    Returns:
        `(outputs, states)`.
    """
    outputs, output = [], None
    for number, x in enumerate(inputs):
        before, states = states, step(x, states)
        if mask is None:
            output = states[0]
        else:
            counts = mask[:, number].reshape(-1, *[1] * (states[0].ndim - 1))
            same = output is not None and not zero_masked
            other = output if same else torch.zeros_like(states[0])
            output = torch.where(counts, states[0], other)
            states = [torch.where(counts, *pair) for pair in zip(states, before, strict=True)]
        if sequences:
            outputs.append(output)
    return torch.stack(outputs, 1) if sequences else output, states


def lstm_step(recurrent, activation, recurrent_activation):
    """A step of an LSTM; `recurrent(x, h)` adds the states' part to the inputs' and splits it."""

    def step(x, states):
        h, c = states
        i, f, g, o = recurrent(x, h)
        c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
        return [recurrent_activation(o) * activation(c), c]

    return step


def gru_step(recurrent, activation, recurrent_activation):
    """A step of a GRU; `recurrent(h)` is the states' part by gate, or the function of a gate."""

    def step(x, states):
        (h,) = states
        x_update, x_reset, x_candidate = x.chunk(3, 1)
        h_update, h_reset, candidate = recurrent(h)
        update = recurrent_activation(x_update + h_update)
        reset = recurrent_activation(x_reset + h_reset)
        new = activation(x_candidate + candidate(reset))
        return [update * h + (1 - update) * new]

    return step


def project(x, kernel, bias, dropout):
    """The inputs' part of all gates and steps: `(time, batch, gates · units)`.

    Args:
        x: `(batch, time, features)`.
        kernel: `(gates · units, features)`.
        bias: `(gates · units,)` or `None`.
        dropout: `(gates, batch, features)`, what each gate's inputs are multiplied by, or `None`.
    """
    linear = torch.nn.functional.linear
    if dropout is None:
        return linear(x.transpose(0, 1), kernel, bias)  # all steps at once: time comes first
    gates = [
        linear((x * mask.unsqueeze(1)).transpose(0, 1), part)
        for mask, part in zip(dropout, kernel.chunk(len(dropout)), strict=True)
    ]
    joined = torch.cat(gates, 2)
    return joined if bias is None else joined + bias


def of_each_step(weight):
    """A function that gives a weight to a step.

    In half precision the gradients of all steps are added up in float32, as in Keras, where each
    step has a cast of its own: half precision loses those of many.
    """
    trained = weight.requires_grad and torch.is_grad_enabled()
    if weight.dtype not in HALF or not trained:
        return lambda: weight
    wide, half = weight.float(), weight.detach()
    return lambda: _Use.apply(wide, half)


class _Use(torch.autograd.Function):
    """A weight in half precision, whose gradient goes to the same weight in float32."""

    @staticmethod
    def forward(wide, half):
        return half.view_as(half)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept."""

    @staticmethod
    def backward(ctx, gradient):
        return gradient.float(), None


class Product:
    """The states' part of several gates: `h @ kernel`, each gate with a dropout of its own.

    Args:
        kernel: `(gates · units, units)`.
        gates: int.
        dropout: `(gates, batch, units)`, `(batch, units)` for all gates, or `None`.
        bias: `(gates · units,)` or `None`.
    """

    def __init__(self, kernel, gates, dropout=None, bias=None):
        self.gates, self.dropout = gates, dropout
        self.each = dropout is not None and dropout.ndim == 3
        kernel = kernel.unflatten(0, (gates, -1)).transpose(1, 2) if self.each else kernel.t()
        self.kernel, self.bias = of_each_step(kernel), bias if bias is None else of_each_step(bias)

    def __call__(self, x, h):
        """The sum with `x` `(batch, gates · units)`, or without it for `None`, by gate."""
        if self.bias is not None:
            x = self.bias() if x is None else x + self.bias()
        if self.each:
            product = torch.bmm(h * self.dropout, self.kernel()).transpose(0, 1).flatten(1)
            return (product if x is None else x + product).chunk(self.gates, 1)
        if self.dropout is not None:
            h = h * self.dropout
        kernel = self.kernel()
        product = torch.mm(h, kernel) if x is None else torch.addmm(x, h, kernel)
        return product.chunk(self.gates, 1)
