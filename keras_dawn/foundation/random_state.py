"""The random numbers of every library that a training draws from."""

import random

from keras_dawn.foundation import keras_random
from keras_dawn.foundation.plain_state import alike

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


def generator_state(value):
    """How to get and to put the state of a random generator; `None` of anything else."""
    if isinstance(value, torch.Generator):
        return value.get_state, value.set_state
    if isinstance(value, np.random.Generator):
        value = value.bit_generator
    if isinstance(value, np.random.BitGenerator):
        # The bit generator: a `Generator` has no state of its own.
        return lambda: value.state, lambda state: setattr(value, "state", state)
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate, value.setstate
    return None


def _set_gpus(states, gpu):
    """The states of the GPUs that there are now, which may be fewer, or others.

    This process's GPU goes on where the one did that it had: it may be visible by another number.
    """
    if gpu is not None:
        states[torch.cuda.current_device()] = states[gpu]
    for device in range(torch.cuda.device_count()):
        if device in states:
            torch.cuda.set_rng_state(states[device], device)


def state_of_new_rank(states, rank):
    """The random numbers of a rank that a job did not have, from those that its ranks had.

    What all ranks had alike of Python's, NumPy's and Keras's, this one has too, such as the
    numbers that all of them shuffle the same list by. Everything else gets a stream of its own,
    drawn from torch's of rank 0 and the number.

    Args:
        states: list of what `random_state` returned on each rank.
        rank: int, at least `len(states)`.
    """
    first = states[0]
    drawn = first["torch"].numpy()[:: max(1, len(first["torch"]) // 64)].astype(np.uint32)
    words = np.random.SeedSequence([*drawn.tolist(), rank]).generate_state(4)
    python, numpy, torch_seed = (int(word) for word in words[:3])
    name, own, *rest = np.random.RandomState(numpy).get_state()
    fresh = {
        "python": random.Random(python).getstate(),
        "numpy": (name, torch.from_numpy(own.astype(np.int64)), *rest),
        "torch": torch.Generator().manual_seed(torch_seed).get_state(),
        "cuda": [_cuda_state(state, torch_seed) for state in first["cuda"]],
        "gpu": first["gpu"],
        "keras": first["keras"] if first["keras"] is None
        else keras_random.seed_of_rank(first["keras"], rank),
    }  # fmt: skip
    shared = [name for name in ("python", "numpy", "keras") if alike([s[name] for s in states])]
    return {**fresh, **{name: first[name] for name in shared}}


def _cuda_state(state, seed):
    """A CUDA generator's state with another seed: eight bytes of it, and eight of its place."""
    words = state.clone().view(torch.int64)
    words[0] = seed
    return words.view(torch.uint8)
