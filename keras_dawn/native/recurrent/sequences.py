"""What every recurrent layer does around its recurrence: direction, dropout, states."""

from keras_dawn.native.recurrent.loops import loop

import torch


class Sequences:
    """A batch of sequences on its way through a recurrent layer.

    Args:
        x: `(batch, time, …)`.
        units: int; states are of zeros `(batch, units)` where none are given. Or a shape.
        count: int, how many states there are.
        initial: list of initial states, or `None`.
        mask: `(batch, time)`, which steps count, or `None`.
        sequences: bool, whether to return the output of every step.
        states: bool, whether to return the last states.
        backwards: bool, whether the last step comes first.
        zero_masked: bool, whether a masked step's output is 0, not that of the step before.
        memory: list of tensors that keep the states from call to call, or `None`.
    """

    def __init__(
        self, x, units, count, *, initial=None, mask=None, sequences=False, states=False,
        backwards=False, zero_masked=False, memory=None,
    ):  # fmt: skip
        if memory is not None and memory[0].shape[0] != x.shape[0]:
            raise ValueError(
                "Expected a batch of the size that the states of a stateful layer have, "
                f"{memory[0].shape[0]}, got {x.shape[0]}."
            )
        if mask is not None and mask.shape == (1, x.shape[1]):
            mask = mask.expand(x.shape[:2])  # one for all sequences
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(
                f"Expected a mask of shape {tuple(x.shape[:2])} (batch, time), got "
                f"{tuple(mask.shape)}."
            )
        self.x, self.mask = x, mask if mask is None else mask.bool()
        if backwards:
            self.x, self.mask = x.flip(1), None if mask is None else self.mask.flip(1)
        self.sequences, self.zero_masked = sequences, zero_masked
        self._states, self._memory = states, memory
        self.keeps_states = states or memory is not None
        if initial is not None:
            self.initial = initial
        elif memory is not None:  # copies: the memory is written while these wait for backward
            self.initial = [state.to(x.dtype, copy=True) for state in memory]
        else:
            size = units if isinstance(units, tuple) else (units,)
            self.initial = [x.new_zeros(x.shape[0], *size)] * count
        self._given = self.initial[0]
        self.initial = [of_each_sample(state, x) for state in self.initial]

    def drop(self, dropout):
        """Draws Keras's masks of dropout, in its order, in evaluation too.

        Returns:
            `(inputs, masks of inputs by gate, masks of states)`; a mask of inputs that all gates
            share has been applied. `None` for no mask.
        """
        if dropout is None:
            return self.x, None, None
        rate, state_rate, masks, applied = dropout
        of_inputs = draw(self.x[:, 0], rate, masks) if rate else None
        of_states = draw(self._given, state_rate, masks) if state_rate else None
        if not applied:
            return self.x, None, None
        if masks or of_inputs is None:
            return self.x, of_inputs, of_states
        return self.x * of_inputs.unsqueeze(1), None, of_states

    def loop(self, step, inputs, channel_axis=None):
        """Runs a recurrence step by step.

        Args:
            step: see `loops.loop`; its states have their channels in axis 1.
            inputs: iterable of one tensor a step.
            channel_axis: where the results have their channels, or `None` for as they are.
        """
        outputs, states = loop(
            step, inputs, self.initial, self.mask, self.sequences, self.zero_masked
        )
        if channel_axis is not None:
            outputs = outputs.movedim(2 if self.sequences else 1, channel_axis)
            states = [state.movedim(1, channel_axis) for state in states]
        return self.finished(outputs, states)

    def finished(self, outputs, states):
        """What the layer returns; the states are remembered."""
        if self._memory is not None:
            with torch.no_grad():
                for kept, state in zip(self._memory, states, strict=True):
                    kept.copy_(state)
        return (outputs, *states) if self._states else outputs


def of_each_sample(state, x):
    """An initial state as one of each sequence in `x`; one for all is broadcast, as in Keras."""
    one_for_all = state.shape[0] == 1 != x.shape[0]
    return state.expand(x.shape[0], *state.shape[1:]) if one_for_all else state


def draw(like, rate, masks):
    """Dropout's masks of a tensor: one, or several stacked in front."""
    ones = torch.ones_like(like)
    if not masks:
        return torch.nn.functional.dropout(ones, rate)
    return torch.stack([torch.nn.functional.dropout(ones, rate) for _ in range(masks)])


def item(outputs, index):
    """The `index`-th of several outputs."""
    return outputs[index]
