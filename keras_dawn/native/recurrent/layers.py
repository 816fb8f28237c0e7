"""LSTM, GRU and SimpleRNN as Keras computes them, on torch's kernels where these do it.

One call does what a Keras layer does: dropout, direction, masks, states that are kept.
"""

from keras_dawn.native.elementwise import FUNCTIONS
from keras_dawn.native.recurrent import loops
from keras_dawn.native.recurrent.kernels import Kernel, call
from keras_dawn.native.recurrent.masking import Steps
from keras_dawn.native.recurrent.sequences import Sequences, of_each_sample

import torch


def lstm(
    x, kernel, recurrent_kernel, bias=None, *,
    activation="tanh", recurrent_activation="sigmoid", dropout=None, **options,
):  # fmt: skip
    """A Keras LSTM.

    Args:
        x: `(batch, time, features)`.
        kernel: `(4 · units, features)`, gates in the order input, forget, candidate, output.
        recurrent_kernel: `(4 · units, units)`.
        bias: `(4 · units,)` or `None`.
        activation, recurrent_activation: names of activations.
        dropout: `(rate, rate of states, masks, applied)`: how many masks are drawn for the gates,
            0 for one that all share, and whether what is drawn is applied. Or `None`.
        options: see `Sequences`.

    Returns:
        `(batch, units)` or, with `sequences`, `(batch, time, units)`; with `states` a tuple of it,
        the hidden and the cell state.

    Example:
        >>> x, kernel, recurrent = torch.ones(2, 5, 3), torch.ones(16, 3), torch.ones(16, 4)
        >>> lstm(x, kernel, recurrent, sequences=True).shape
        torch.Size([2, 5, 4])
    """
    run = Sequences(x, units=recurrent_kernel.shape[1], count=2, **options)
    inputs, by_gate, of_states = run.drop(dropout)
    plain = (activation, recurrent_activation) == ("tanh", "sigmoid")
    if plain and by_gate is None and of_states is None:
        return _by_kernel(run, Kernel("lstm", kernel, recurrent_kernel, bias), inputs)
    product = loops.Product(recurrent_kernel, 4, of_states)
    functions = FUNCTIONS[activation], FUNCTIONS[recurrent_activation]
    step = loops.lstm_step(product, *functions)
    return run.loop(step, loops.project(inputs, kernel, bias, by_gate))


def gru(
    x, kernel, recurrent_kernel, bias=None, *,
    activation="tanh", recurrent_activation="sigmoid", reset_after=True, dropout=None, **options,
):  # fmt: skip
    """A Keras GRU; see `lstm`.

    Args:
        kernel, recurrent_kernel: three gates in the order update, reset, candidate.
        bias: `(2, 3 · units)`, of inputs and of states; `(3 · units,)` without `reset_after`.
        reset_after: bool, whether the states' product is taken before they are reset.

    Example:
        >>> x, kernel, recurrent = torch.ones(2, 5, 3), torch.ones(12, 3), torch.ones(12, 4)
        >>> output, state = gru(x, kernel, recurrent, states=True)
        >>> bool((output == state).all())
        True
    """
    run = Sequences(x, units=recurrent_kernel.shape[1], count=1, **options)
    inputs, by_gate, of_states = run.drop(dropout)
    plain = (activation, recurrent_activation) == ("tanh", "sigmoid") and reset_after
    if plain and by_gate is None and of_states is None:
        return _by_kernel(run, Kernel("gru", kernel, recurrent_kernel, bias), inputs)
    functions = FUNCTIONS[activation], FUNCTIONS[recurrent_activation]
    bias, state_bias = bias.unbind(0) if reset_after and bias is not None else (bias, None)
    part = _reset_after if reset_after else _reset_before
    recurrent = part(recurrent_kernel, state_bias, of_states)
    step = loops.gru_step(recurrent, *functions)
    return run.loop(step, loops.project(inputs, kernel, bias, by_gate))


def _reset_after(kernel, bias, dropout):
    product = loops.Product(kernel, 3, dropout, bias)

    def recurrent(h):
        update, reset, candidate = product(None, h)
        return update, reset, lambda gate: gate * candidate

    return recurrent


def _reset_before(kernel, bias, dropout):
    gates, last = kernel.split((kernel.shape[0] // 3 * 2, kernel.shape[0] // 3))
    product = loops.Product(gates, 2, None if dropout is None else dropout[:2])
    last = loops.of_each_step(last)

    def recurrent(h):
        dropped = h if dropout is None else h * dropout[2]
        return *product(None, h), lambda gate: torch.mm(gate * dropped, last().t())

    return recurrent


def simple_rnn(
    x, kernel, recurrent_kernel, bias=None, *, activation="tanh", dropout=None, **options
):
    """A Keras SimpleRNN; see `lstm`.

    Args:
        kernel, recurrent_kernel: `(units, features)` and `(units, units)`.
        bias: `(units,)` or `None`.

    Example:
        >>> simple_rnn(torch.ones(2, 5, 3), torch.zeros(4, 3), torch.zeros(4, 4)).shape
        torch.Size([2, 4])
    """
    run = Sequences(x, units=recurrent_kernel.shape[1], count=1, **options)
    inputs, _, of_states = run.drop(dropout)
    if activation in ("tanh", "relu") and of_states is None:
        return _by_kernel(run, Kernel(f"rnn_{activation}", kernel, recurrent_kernel, bias), inputs)
    product, function = loops.Product(recurrent_kernel, 1, of_states), FUNCTIONS[activation]

    def step(x, states):
        return [function(product(x, states[0])[0])]

    return run.loop(step, loops.project(inputs, kernel, bias, None))


def _by_kernel(run, kernel, x):
    """Runs a kernel over sequences, around their masked steps."""
    mask = run.mask
    # To look at a mask on a GPU would wait for it; on a CPU it may spare all the rearranging.
    if mask is None or (not mask.is_cuda and bool(mask.all())):
        outputs, states = kernel.run(x, run.initial)
        return run.finished(outputs if run.sequences else states[0], states)
    steps = Steps(mask)
    hold = steps.after() if kernel.kind == "lstm" and run.keeps_states else None
    outputs, states = kernel.run(steps.first(x), run.initial, hold)
    states = [steps.last(outputs, run.initial[0]), *states[1:]]
    if run.sequences:
        return run.finished(steps.spread(outputs, run.zero_masked), states)
    last = steps.last(outputs)
    if run.zero_masked:
        last = last.masked_fill(~mask[:, -1:], 0.0)
    return run.finished(last, states)


def bidirectional(kind, x, forward, backward, initial=None, sequences=False, states=False):
    """Two directions by one call of a kernel; nothing is masked.

    Args:
        kind: see `Kernel`.
        x: `(batch, time, features)`.
        forward, backward: lists of kernel, recurrent kernel and bias (or `None`).
        initial: list of states, the forward direction's first, or `None`.
        sequences, states: bool, what is returned.

    Returns:
        Both directions' outputs side by side: `(batch, 2 · units)` or, in the order of time,
        `(batch, time, 2 · units)`; with `states` a tuple of it and all states.
    """
    kernels = [Kernel(kind, *weights) for weights in (forward, backward)]
    units, count = forward[1].shape[1], 2 if kind == "lstm" else 1
    if initial is None:
        first = [x.new_zeros(2, x.shape[0], units)] * count
    else:
        initial = [of_each_sample(state, x) for state in initial]
        first = [torch.stack((initial[n], initial[count + n])) for n in range(count)]
    weights = [weight for kernel in kernels for weight in kernel.weights()]
    outputs, last = call(kind, x, first, weights, forward[2] is not None, bidirectional=True)
    if not sequences:
        outputs = torch.cat(last[0].unbind(0), 1)
    if not states:
        return outputs
    return (outputs, *(state[number] for number in range(2) for state in last))
