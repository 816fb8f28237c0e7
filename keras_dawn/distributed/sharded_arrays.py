"""Arrays that go into `fit` and `evaluate` on several ranks: of every batch a rank's share."""

import math

from keras_dawn.distributed.collectives import broadcast
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.sharding import Share
from keras_dawn.foundation.arrays import tensor_of
from keras_dawn.foundation.data_content import digest_of

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


def shard_arrays(x, y, sample_weight, batch_size, shuffle, training):
    """`ShardedArrays` of what `fit` was given; anything but arrays is given back."""
    # As Keras hands arrays to a `train_step`: without targets there is no tuple around one array.
    arrays = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
    if not all(isinstance(leaf, (np.ndarray, torch.Tensor)) for leaf in keras.tree.flatten(arrays)):
        return x
    ranks = current()
    share = Share(ranks.rank, ranks.world_size)
    return ShardedArrays(arrays, batch_size or 32, share, bool(shuffle), training)


def split_for_validation(arrays, fraction):
    """The first part of arrays to train on and the last to validate on, as Keras does it."""
    length = len(keras.tree.flatten(arrays)[0])
    split = math.floor(length * (1.0 - fraction))
    if not 0 < split < length:
        raise ValueError(f"validation_split={fraction} leaves a part of {length} images empty.")

    def part(places):
        return keras.tree.map_structure(
            lambda array: None if array is None else array[places], arrays
        )

    return part(slice(split)), part(slice(split, None))


class ShardedArrays(DataLoader):
    """Arrays as this rank's data for `fit` or `evaluate`: of every batch its share.

    Args:
        arrays: `(x, y)`, `(x, y, sample_weight)` or what else a step takes, structures of
            arrays or tensors.
        batch_size: int, images over all ranks.
        share: `Share`.
        shuffle: bool, a new order each epoch, the same on all ranks.
        training: bool, whether every rank must have part in every batch.
    """

    def __init__(self, arrays, batch_size, share, shuffle, training):
        self._arrays = keras.tree.map_structure(_tensor, arrays)
        lengths = {len(array) for array in keras.tree.flatten(self._arrays)}
        if len(lengths) != 1:
            raise ValueError(f"The arrays must have equal lengths, got {sorted(lengths)}.")
        (self._length,) = lengths
        self._shuffle, self._batch_size = shuffle, batch_size
        self.set_share(share, training)
        self._epoch = 0
        self._seed = torch.randint(0, 2**31, (1,)) if shuffle else torch.zeros(1).long()
        if current().several:
            # Each process has drawn its own: without one order for all, shares would overlap.
            broadcast([self._seed])
        self.rank_weight = 1.0
        super().__init__(TensorDataset(torch.zeros(self._length)), batch_size=batch_size)

    @property
    def shuffles(self):
        """Whether every pass has an order of its own."""
        return self._shuffle

    def fingerprint(self):
        """What tells these arrays from others, the same on all ranks that are given the same."""
        return digest_of(*keras.tree.flatten(self._arrays))

    def set_share(self, share, training):
        """Serves one rank's share of each batch from now on."""
        self._share = share
        self._bounds = share.batches(self._length, self._batch_size, False, training)

    def __len__(self):
        return len(self._bounds)

    def state_dict(self):
        """What the order depends on, for checkpoints."""
        return {"epoch": self._epoch, "seed": int(self._seed)}

    def load_state_dict(self, state):
        """Takes up what `state_dict` returned."""
        self._epoch = state["epoch"]
        self._seed.fill_(state["seed"])

    def __iter__(self):
        epoch = self._epoch
        order = torch.arange(self._length)
        if self._shuffle:
            entropy = np.random.SeedSequence([int(self._seed), epoch]).generate_state(1)
            generator = torch.Generator().manual_seed(int(entropy[0]))
            order = torch.randperm(self._length, generator=generator)
        for number, (start, stop) in enumerate(self._bounds):
            if number == len(self._bounds) - 1:
                self._epoch = epoch + 1  # before the last `yield`: Keras does not come back
            self.rank_weight = self._share.weight(stop - start)
            indices = self._share.of(order[start:stop])
            yield keras.tree.map_structure(
                lambda array, chosen=indices: array.index_select(0, chosen.to(array.device)),
                self._arrays,
            )


def _tensor(array):
    """An array as a tensor, floating-point numbers as Keras hands those of arrays to a step."""
    tensor = tensor_of(array)
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(getattr(torch, keras.config.floatx()))
