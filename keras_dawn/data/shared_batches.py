"""Batches of an order, of which each rank serves its share."""

from torch.utils.data import DataLoader


class SharedBatches(DataLoader):
    """A torch `DataLoader` whose sampler says what an epoch serves, and whose ranks share it out.

    Its `dataset` has as many items as there are.

    Attributes:
        share: `distributed.sharding.Share` that is served now.
    """

    def set_share(self, share, training):
        """Serves one rank's share of each batch from now on (`distributed.sharding.Share`)."""
        self.sampler.check(len(self.dataset), share.world_size)
        self.share, self._training = share, training
        self._bounds()  # whether there are enough images

    def __len__(self):
        return len(self._bounds())

    def _bounds(self):
        """`(start, stop)` of each batch of a pass, of as many images as the sampler serves now."""
        served = self.sampler.served(len(self.dataset))
        return self.share.batches(served, self.batch_size, self.drop_last, self._training)

    def _entropy(self, epoch, number):
        """What the random numbers of a batch of this rank go by."""
        # NumPy takes no entropy below 0.
        return [self.sampler.seed % 2**64, epoch, number, self.share.rank]
