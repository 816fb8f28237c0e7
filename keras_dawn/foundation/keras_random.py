"""The generators behind `keras.random`: the one where nobody gives a seed, and those of layers."""

from keras_dawn.foundation.model_state import overwrite

import torch
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from keras.src.utils import rng_utils


def global_seed():
    """What `keras.random` draws from without a seed, as a tensor; `None` before its first use."""
    state = _global_state()
    return None if state is None else state.to("cpu", copy=True)


def set_global_seed(state):
    """Puts back what `global_seed` returned."""
    overwrite(seed_generator.global_seed_generator().state.value, state)


def global_draws():
    """A function that takes back the draws of `keras.random` without a seed from now on."""
    before = _global_state()
    before = None if before is None else before.clone()

    @torch.no_grad()
    def take_back():
        state = _global_state()
        if before is not None:
            state.copy_(before)
        elif state is not None:  # made meanwhile, and counted from 0
            state[1] = 0

    return take_back


def explicit_seed():
    """What `keras.utils.set_random_seed` was given last, or `None`."""
    return rng_utils.get_random_seed()


def next_global_seed():
    """The seed of the next draw of `keras.random` without a seed; the draw is counted."""
    first, second = seed_generator.draw_seed(None)
    return int(first + second)


def seed_of_rank(state, rank):
    """What a seed generator of rank 0's is on another rank, int64 `(2,)`: a seed and a count.

    Args:
        state: tensor `(2,)`, that of rank 0.
        rank: int.
    """
    state = state.detach().to(torch.int64)
    shift = torch.tensor([7919 * rank, 0], device=state.device)  # a prime: layers' seeds lie close
    return (state + shift) % 2**32


def _global_state():
    """The memory of the generator for all, or `None` before its first use."""
    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state.value.detach()


def is_seed(variable):
    """Whether a variable is the state of a seed generator, as dropout has one."""
    return variable.path.endswith("seed_generator_state")
