"""Each rank's share of the data that goes into `fit` and `evaluate`."""

import contextlib

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current

from torch.utils.data import DataLoader, DistributedSampler

_told = {}  # what data that is shared out now was told last, by its id


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


@contextlib.contextmanager
def shared_out(data, training):
    """Lets data that knows about ranks serve this rank's share, and what it did before after.

    Of data to evaluate with fewer images than ranks, every rank is served all (`served_whole`).

    Args:
        data: what was passed to `fit` or `evaluate` as `x`.
        training: bool.

    Yields:
        The data.

    Raises:
        ValueError: data that every rank would read in full.
    """
    if not hasattr(data, "set_share"):
        _check_sampler(data, training)
        yield data
        return
    ranks = current()
    with _serving(data, Share(ranks.rank, ranks.world_size), training):
        if training or all(gather(len(data))):
            yield data
            return
        with _serving(data, Share(), training, whole=True):
            yield data


@contextlib.contextmanager
def all_served(data):
    """Lets data serve all of its batches to this rank, also where a `fit` has shared it out."""
    if id(data) not in _told:
        yield
        return
    with _serving(data, Share(), training=False):
        yield


@contextlib.contextmanager
def _serving(data, share, training, whole=False):
    before = _told.get(id(data))
    try:
        _tell(data, share, training, whole)
        yield
    finally:
        # A `fit` goes on with its share after an evaluation on the same data in a callback.
        _tell(data, *(before or (Share(), training, False)))
        if before is None:
            del _told[id(data)]


def _tell(data, share, training, whole):
    _told[id(data)] = share, training, whole
    data.set_share(share, training)
    if whole != vars(data).get("served_whole", False):
        data.served_whole = whole


def is_served_whole(data):
    """Whether every rank is served all of the data, which has too few images to share."""
    return getattr(data, "served_whole", False)


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
    if (sampler.num_replicas, sampler.rank) != (ranks.world_size, ranks.rank):
        raise ValueError(
            f"The DistributedSampler serves rank {sampler.rank} of {sampler.num_replicas}, and "
            f"this is rank {ranks.rank} of {ranks.world_size}. Make it without `num_replicas` and "
            "`rank`, after keras_dawn.distribute()."
        )
    if not training and len(sampler.dataset) % ranks.world_size and not sampler.drop_last:
        raise ValueError(
            f"DistributedSampler repeats images to give {ranks.world_size} ranks as many each, "
            f"which falsifies an evaluation on {len(sampler.dataset)}. Pass arrays or "
            "keras_dawn.data.DeviceImages, which are evaluated exactly."
        )
