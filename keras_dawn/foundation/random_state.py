"""The random numbers of every library that a training draws from."""

import random

from keras_dawn.foundation import keras_random

import numpy as np
import torch


def random_state():
    """The states of Python's, NumPy's, torch's and Keras's random numbers, as plain data."""
    # As int64: few of torch's operations know NumPy's uint32.
    name, words, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(words.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "gpu": torch.cuda.current_device() if torch.cuda.is_available() else None,
        "keras": keras_random.global_seed(),
    }


def set_random_state(state):
    """Puts back what `random_state` returned."""
    if state["keras"] is not None:  # first: making one draws from Python's
        keras_random.set_global_seed(state["keras"])
    random.setstate(state["python"])
    name, words, *rest = state["numpy"]
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        _set_gpus(dict(enumerate(state["cuda"])), state.get("gpu"))


def _set_gpus(states, gpu):
    """The states of the GPUs that there are now, which may be fewer, or others.

    This process's GPU goes on where the one did that it had: it may be visible by another number.
    """
    if gpu is not None:
        states[torch.cuda.current_device()] = states[gpu]
    for device in range(torch.cuda.device_count()):
        if device in states:
            torch.cuda.set_rng_state(states[device], device)
