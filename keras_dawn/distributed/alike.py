"""Whether all ranks were given the same data, of which each takes its share by itself."""

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.errors import OnAllRanksError
from keras_dawn.distributed.sharding import sampler_of


def check_alike(*sets):
    """Compares data between the ranks, by a sample of what it holds. To be called on all of them.

    Args:
        *sets: data for `fit` or `evaluate`, each with a `fingerprint()`, a torch `DataLoader` with
            a `DistributedSampler`, or `None`; other data is passed over.

    Raises:
        ValueError: data that differs, as after a shuffle or a split without a seed, or where each
            rank was given a part.
    """
    everywhere = gather([_fingerprint(data) for data in sets])
    for data, *found in zip(sets, *everywhere, strict=True):
        if len(set(found)) > 1:
            raise OnAllRanksError(
                f"The data differs between the ranks ({type(data).__name__}). Each rank takes its "
                "share of every batch by itself, so give all of them the same data in the same "
                "order, and not a part each: seed what shuffles or splits it."
            )


def _fingerprint(data):
    if hasattr(data, "fingerprint"):
        return data.fingerprint()
    sampler = sampler_of(data)
    if sampler is None:
        return None
    return len(sampler.dataset), sampler.shuffle, sampler.seed, sampler.drop_last, data.batch_size
