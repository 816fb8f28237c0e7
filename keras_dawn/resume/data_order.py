"""The order of images in a job whose number of ranks changes: the same, or a refusal."""

from keras_dawn.distributed import sharding
from keras_dawn.distributed.errors import OnAllRanksError
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.sharded_arrays import ShardedArrays
from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.counted import counted

from torch.utils.data import DataLoader

_SHARED = "arrays, shuffled for all ranks together"
_KERAS = "arrays, shuffled by Keras"
_TOLD = ", told its epochs"


class DataOrder:
    """In which order a `fit` is served its data, of those that depend on the number of ranks.

    Arrays that are shuffled have another order where one process trains than where several do,
    and nobody tells the `DistributedSampler` of a single process its epochs. A training that
    began on several ranks keeps their order on one.

    Args:
        iterator: the `EpochIterator` of the `fit`.
        before: str, what `name` was in the process before, or `None`.

    Attributes:
        name: str, the order, for checkpoints.
    """

    def __init__(self, iterator, before):
        arrays = keras_fit.arrays_of(iterator)
        if arrays is not None and before == _SHARED:
            inputs, batch_size, _ = arrays
            shared = ShardedArrays(
                inputs, batch_size, sharding.Share(), shuffle=True, training=True
            )
            keras_fit.change_data(iterator, shared)
        loader = keras_fit.data_of(iterator)[1]
        self._sampler = None
        self.name = _name(keras_fit.arrays_of(iterator), loader)
        sampler = sharding.sampler_of(loader)
        if sampler is not None and sampler.shuffle and self.name + _TOLD == before:
            self._sampler, self.name = sampler, before  # by this process, as the ranks were

    def begin_epoch(self, epoch):
        """Tells a sampler its epoch that nobody else would tell."""
        if self._sampler is not None:
            self._sampler.set_epoch(epoch)


def check_order(before, now, ranks, folder):
    """Raises `ValueError` where another number of ranks would train in another order, on each.

    Args:
        before, now: str, names of orders.
        ranks: int, how many ranks there were.
        folder: path of the checkpoints.
    """
    if before == now:
        return
    raise OnAllRanksError(
        f"The checkpoint in {folder} is of {counted(ranks, 'rank')}, and this job of "
        f"{current().world_size} would train in another order: {before} → {now}. Serve the data "
        "in an order that does not depend on the number of ranks, such as that of "
        "keras_dawn.data.DeviceImages, or go on with as many ranks as before."
    )


def _name(arrays, loader):
    """In words, on this number of ranks."""
    if arrays is not None:
        return _KERAS if arrays[2] else "arrays in their order"
    if isinstance(loader, ShardedArrays):
        return _SHARED if loader.shuffles else "arrays in their order"
    within = getattr(loader, "data", None)
    if isinstance(within, DataLoader):  # a plan's, which tells its data the epochs
        return _name(None, within) if sharding.sampler_of(within) is None else type(loader).__name__
    sampler = sharding.sampler_of(loader)
    told = _TOLD if sampler is not None and sampler.shuffle and current().several else ""
    sampler = sampler or getattr(loader, "sampler", None)
    return f"{type(loader).__name__} with {type(sampler).__name__}{told}"
