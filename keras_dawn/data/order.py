"""The order of a data set in an epoch: a function of (seed, epoch) alone."""

import numpy as np
import torch


def epoch_order(count, seed, epoch, shuffle=True):
    """Indices 0 to `count - 1` in the order of an epoch, int64 `(count,)`, on the CPU.

    Drawn on the CPU, where the generator gives the same order on every machine and rank.

    Args:
        count, seed, epoch: int.
        shuffle: bool; without it the order is that of the set.

    Example:
        >>> len(epoch_order(10, seed=0, epoch=3))
        10
    """
    if not shuffle:
        return torch.arange(count)
    sequence = np.random.SeedSequence([seed % 2**64, epoch])
    state = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randperm(count, generator=torch.Generator().manual_seed(state))
