"""What an epoch serves and in which order: a function of (seed, epoch), and of no batch size."""

import numpy as np
import torch


class InOrder:
    """The images in the order of their set.

    Args:
        seed: int, which transforms draw from too.

    Example:
        >>> InOrder().order(3, epoch=0)
        tensor([0, 1, 2])
    """

    shuffles = False

    def __init__(self, seed=0):
        self.seed = seed

    def served(self, count):
        """How many images an epoch has, of a set of `count`."""
        return count

    def order(self, count, epoch):
        """Indices of the images of an epoch (0-based), int64 `(served(count),)`."""
        return torch.arange(count)

    def check(self, count, world_size):
        """Raises `ValueError` where it cannot serve `count` images on so many ranks."""

    def expect(self, indices):
        """Is told the images of each batch of the training before the model is."""

    def __repr__(self):
        return f"{type(self).__name__}(seed={self.seed})"


class Shuffled(InOrder):
    """All images, in a new order each epoch, the same on every machine and rank.

    Args:
        seed: int, which transforms draw from too.

    Example:
        >>> sorted(Shuffled(seed=1).order(4, epoch=3).tolist())
        [0, 1, 2, 3]
    """

    shuffles = True

    def order(self, count, epoch):
        return epoch_order(count, self.seed, epoch)


def epoch_order(count, seed, epoch):
    """Indices 0 to `count - 1` in the order of an epoch, int64 `(count,)`, on the CPU.

    Drawn on the CPU, where the generator gives the same order on every machine and rank.

    Args:
        count, seed, epoch: int.

    Example:
        >>> len(epoch_order(10, seed=0, epoch=3))
        10
    """
    # Mixed, not added: seed 1 in epoch 0 has another order than seed 0 in epoch 1.
    sequence = np.random.SeedSequence([seed % 2**64, epoch])
    state = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randperm(count, generator=torch.Generator().manual_seed(state))
