"""The generator behind `keras.random` where nobody gives a seed."""

import torch
from keras.src.backend.common import global_state
from keras.src.random import seed_generator


def global_seed():
    """What `keras.random` draws from without a seed, as a tensor; `None` before its first use."""
    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state.value.detach().to("cpu", copy=True)


def set_global_seed(state):
    """Puts back what `global_seed` returned."""
    with torch.no_grad():  # past `data`, so that torch counts the write
        seed_generator.global_seed_generator().state.value.copy_(state)
