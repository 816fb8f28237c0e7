"""What a graph changes on its way, put back where it fails: Keras's own call then changes it again.

These are counts of draws, states that are kept, weights that are divided.
"""

from keras_dawn.foundation import keras_random, keras_variables

import torch


def states_before(lowered, tensors):
    """What `put_back` takes; to be called before a graph is.

    Args:
        lowered: `Lowered`.
        tensors: what it is called with.
    """
    changed, draws, generator = [], None, None
    if lowered.changes_state:
        changed = [keras_variables.memory_of(variable).detach() for variable in lowered.changed]
        changed = [(tensor, tensor.clone()) for tensor in changed]
        draws = keras_random.global_draws()
    if lowered.draws:
        generator = _generator_of(tensors[0].device)
        generator = generator, generator.get_state()
    return changed, draws, generator


@torch.no_grad()
def put_back(before):
    """Puts back what a graph has changed since `states_before`."""
    changed, take_back_draws, generator = before
    for tensor, kept in changed:
        tensor.copy_(kept)
    if take_back_draws is not None:
        take_back_draws()
    if generator is not None:
        generator[0].set_state(generator[1])


def _generator_of(device):
    """Where functions of torch's draw from that are given no generator."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index]
    return torch.default_generator
