"""Each rank's share of the data that goes into `fit` and `evaluate`."""

import contextlib
import math

from keras_dawn.distributed.collectives import broadcast, gather
from keras_dawn.distributed.ranks import current

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Share:
    """The share of one rank: of every global batch, images `rank`, `rank + n`, …

    Args:
        rank, world_size: int.
    """

    def __init__(self, rank=0, world_size=1):
        self.rank, self.world_size = rank, world_size

    def of(self, batch):
        """The rank's part of a batch that can be sliced."""
        # Every n-th, not a block: what is sorted by class or size is shared out evenly.
        return batch if self.world_size == 1 else batch[self.rank :: self.world_size]

    def count(self, images):
        """How many of so many images are this rank's."""
        return len(range(self.rank, images, self.world_size))

    def weight(self, images):
        """The factor by which this rank's mean loss has to be multiplied, so that the mean over the
        ranks is the mean over all `images`: 1 where all parts are equal."""
        return self.count(images) * self.world_size / images

    def batches(self, images, batch_size, drop_last, training):
        """`(start, stop)` of the global batches that the rank works on.

        Raises:
            ValueError: a batch to train on that has no image for some rank.
        """
        stop = images - images % batch_size if drop_last else images
        bounds = [(s, min(s + batch_size, stop)) for s in range(0, stop, batch_size)]
        if training and bounds and bounds[-1][1] - bounds[-1][0] < self.world_size:
            last = bounds[-1][1] - bounds[-1][0]
            raise ValueError(
                f"The last batch has {last} of {images} images (batch size {batch_size}), too few "
                f"for {self.world_size} ranks. Pass drop_last=True, or choose another batch size."
            )
        return [bound for bound in bounds if self.count(bound[1] - bound[0])]


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
                lambda array, chosen=indices: array.index_select(0, chosen), self._arrays
            )


def _tensor(array):
    """An array as a tensor, floating-point numbers as Keras hands those of arrays to a step."""
    tensor = torch.as_tensor(array)
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(getattr(torch, keras.config.floatx()))


@contextlib.contextmanager
def shared_out(data, training):
    """Lets data that knows about ranks serve this rank's share, and what it served before after.

    Of data to evaluate with fewer images than ranks, every rank is served all (`served_whole`).

    Args:
        data: what was passed to `fit` or `evaluate` as `x`.
        training: bool.

    Yields:
        The data.

    Raises:
        ValueError: data that every rank would read in full.
    """
    ranks = current()
    if hasattr(data, "set_share"):
        # What a `fit` trains on may be evaluated by a callback, and is trained on after.
        before = getattr(data, "served_as", (Share(), training, False))
        _serve(data, Share(ranks.rank, ranks.world_size), training, False)
        if not training and not all(gather(len(data))):
            _serve(data, Share(), training, True)
        try:
            yield data
        finally:
            _serve(data, *before)
        return
    _check_sampler(data, training)
    yield data


def _serve(data, share, training, whole):
    data.set_share(share, training)
    if whole or getattr(data, "served_as", (None, None, False))[2]:
        data.served_whole = whole
    data.served_as = share, training, whole


def is_served_whole(data):
    """Whether every rank is served all of the data, which has too few images to share."""
    return getattr(data, "served_whole", False)


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


def sampler_of(data):
    """The `DistributedSampler` of a torch `DataLoader`, or `None`."""
    if not isinstance(data, DataLoader):
        return None
    candidates = (data.sampler, getattr(data.batch_sampler, "sampler", None))
    return next((s for s in candidates if isinstance(s, DistributedSampler)), None)


def _check_sampler(data, training):
    sampler = sampler_of(data)
    ranks = current()
    if sampler is None:
        raise ValueError(
            f"On {ranks.world_size} ranks every process would read all of this "
            f"{type(data).__name__}. Pass arrays, keras_dawn.data.DeviceImages, or a torch "
            "DataLoader with a DistributedSampler."
        )
    if not training and len(sampler.dataset) % ranks.world_size and not sampler.drop_last:
        raise ValueError(
            f"DistributedSampler repeats images to give {ranks.world_size} ranks as many each, "
            f"which falsifies an evaluation on {len(sampler.dataset)}. Pass arrays or "
            "keras_dawn.data.DeviceImages, which are evaluated exactly."
        )
