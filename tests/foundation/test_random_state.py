"""Random states of GPUs, on machines with other GPUs than those that they are from."""

from keras_dawn.foundation.random_state import random_state, set_random_state

import pytest
import torch


class Gpus:
    """So many GPUs, each with a generator whose state is one number."""

    def __init__(self, monkeypatch, numbers, current=0):
        self.states = [torch.tensor([number]) for number in numbers]
        for name, fake in (
            ("is_available", lambda: bool(self.states)),
            ("device_count", lambda: len(self.states)),
            ("current_device", lambda: current),
            ("get_rng_state_all", lambda: [state.clone() for state in self.states]),
            ("set_rng_state", self._set),
        ):
            monkeypatch.setattr(torch.cuda, name, fake)

    def _set(self, state, device):
        self.states[device] = state  # an IndexError where there is no such GPU

    def numbers(self):
        return [int(state) for state in self.states]


@pytest.mark.parametrize(
    "saved, saved_on, here, here_on, expected",
    [
        ([1, 2], 0, [7, 8], 0, [1, 2]),
        ([1, 2], 0, [7], 0, [1]),
        ([1, 2], 1, [7], 0, [2]),  # what this process drew from, by another number
        ([1], 0, [7, 8], 0, [1, 8]),
        ([1], 0, [7, 8], 1, [1, 1]),
        ([1, 2], 0, [], 0, []),
        ([], 0, [7], 0, [7]),
    ],
)
def test_this_process_s_gpu_goes_on_where_it_was(
    saved, saved_on, here, here_on, expected, monkeypatch
):
    Gpus(monkeypatch, saved, saved_on)
    state = random_state()
    now = Gpus(monkeypatch, here, here_on)
    set_random_state(state)
    assert now.numbers() == expected


def test_a_checkpoint_that_does_not_say_which_gpu_it_was_goes_by_number(monkeypatch):
    Gpus(monkeypatch, [1, 2], 1)
    state = random_state()
    del state["gpu"]
    now = Gpus(monkeypatch, [7], 0)
    set_random_state(state)
    assert now.numbers() == [1]
