"""What an epoch serves and in which order: a function of (seed, epoch), and of no batch size."""

import numbers

from keras_dawn.foundation.device import moved

import numpy as np
import torch


class InOrder:
    """The images in the order of their set.

    Args:
        seed: int, which transforms draw from too.
        weights: float `(count,)`, what the loss of each image weighs, such as
            `class_weights(labels)`; or `None`, and batches come without weights.

    Raises:
        ValueError: a seed that is no whole number, or weights that are not a row of finite numbers
            from 0 up.

    Example:
        >>> InOrder().order(3, epoch=0)
        tensor([0, 1, 2])
    """

    shuffles = False

    def __init__(self, seed=0, weights=None):
        if not isinstance(seed, numbers.Integral):
            raise ValueError(f"`seed` must be a whole number, got {seed!r}.")
        self.seed = int(seed)  # NumPy's would overflow where it is mixed with the epoch
        self.weights = None if weights is None else _checked(weights)

    def served(self, count):
        """How many images an epoch has, of a set of `count`."""
        return count

    def order(self, count, epoch):
        """What is served in an epoch (0-based), int64 `(served(count),)`, in its order.

        Numbers from 0 to `count - 1` are the images' places; an image that is served again in the
        epoch has its place plus `count`, then plus `2 * count`, …, so that its crop is another one.
        """
        return torch.arange(count)

    def check(self, count, world_size):
        """Raises `ValueError` where it cannot serve `count` images on so many ranks."""
        if self.weights is not None and len(self.weights) != count:
            raise ValueError(f"`weights` has {len(self.weights)} values, the data {count} images.")

    def weights_of(self, places, device):
        """The weights of images at these places, float32 `(batch,)` on a device, or `None`."""
        weights = self.weights_on(device)
        return None if weights is None else weights.index_select(0, moved(places, device))

    def weights_on(self, device):
        """All weights, float32 `(count,)` on a device, or `None`."""
        if self.weights is not None:
            self.weights = self.weights.to(device)  # once, not for every batch
        return self.weights

    def expect(self, indices):
        """Is told the images of each batch of the training before the model is."""

    def __repr__(self):
        weighed = "" if self.weights is None else f", weights of {len(self.weights)} images"
        return f"{type(self).__name__}(seed={self.seed}{weighed})"


class Shuffled(InOrder):
    """All images, in a new order each epoch, the same on every machine and rank.

    Args:
        seed, weights: as for `InOrder`.

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


def check_has_batches(data, served):
    """Raises `ValueError` where the `served` images of an epoch fill no batch."""
    if not len(data):
        raise ValueError(
            f"No batch can be made of {served} images an epoch with batch_size={data.batch_size} "
            f"and drop_last={data.drop_last}. Choose a smaller batch size, or drop_last=False."
        )


def _checked(weights):
    weights = torch.as_tensor(np.asarray(weights, np.float32))
    if weights.ndim != 1 or not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise ValueError(
            "`weights` must be finite numbers from 0 up, one for each image, got shape "
            f"{tuple(weights.shape)}; for one a class: class_weights(labels, weights)."
        )
    return weights
