"""Training on the images that were hardest when last seen."""

from keras_dawn.data.device_images import DeviceImages

import keras
import torch
import torch.nn.functional as F


class LossMemory(keras.metrics.Mean):
    """The cross-entropy of the logits, and what it was for each training image when last seen.

    Compiled as a metric, it reports the mean (without label smoothing), and keeps each image's
    value for `HardestImages`, on the device; an image that has not been seen has infinity.

    Args:
        count: int, how many training images there are.
        name: str.

    Example:
        >>> memory = LossMemory(4)
        >>> memory.losses
        tensor([inf, inf, inf, inf])
    """

    def __init__(self, count, name="cross_entropy"):
        super().__init__(name=name)
        self.losses = torch.full((count,), torch.inf)
        self._indices = None
        self._begun = None  # the epoch under way, and the losses that it began with
        self._resumed = False  # whether that epoch was begun by another process

    def expect(self, indices):
        """Says which images the next batch of the training is made of, int64 `(batch,)`."""
        self._indices = indices

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Notes a batch: class numbers `(batch,)`, or probabilities, and logits."""
        targets, logits = torch.as_tensor(y_true), torch.as_tensor(y_pred).detach().float()
        if targets.ndim == logits.ndim:
            targets = targets.argmax(-1)
        losses = F.cross_entropy(logits, targets.long().reshape(-1), reduction="none")
        # None in an evaluation; and Keras tries a metric out on tensors without content.
        if self._indices is not None and not losses.is_meta:
            self.losses = self.losses.to(losses.device)
            self.losses.index_copy_(0, self._indices, losses)
            self._indices = None
        super().update_state(losses, sample_weight)

    def when_begun(self, epoch):
        """The losses with which an epoch began: those of now, but for one that is resumed."""
        if self._begun is None or self._begun[0] != epoch or not self._resumed:
            self._begun, self._resumed = (epoch, self.losses.clone()), False
        return self._begun[1]

    def state_dict(self):
        """What `ResumeTraining.track` saves."""
        begun = self._begun and (self._begun[0], self._begun[1].cpu())
        return {"losses": self.losses.cpu(), "begun": begun}

    def load_state_dict(self, state):
        """Goes on from `state_dict`, within an epoch too."""
        self.losses, self._begun, self._resumed = state["losses"], state["begun"], True


class HardestImages(DeviceImages):
    """`DeviceImages` of which each epoch serves a share: the hardest, and some of the others.

    The hardest are those with the largest loss in a `LossMemory` when the epoch begins: easy
    images teach little late in a training, and cost as much as others (Jiang et al. 2019,
    arXiv:1910.00762; Jordan's airbench96 trains on the harder half of each batch). A part is drawn
    at random from the rest, so that nothing is forgotten for good.

    An epoch of fewer images has fewer batches, which Keras asks for once a `fit`: train on all
    images in a first `fit`, and on the hardest in another that goes on with `initial_epoch`.
    Order and choice depend on (seed, epoch) and the memory.

    Args:
        images, labels, batch_size: as for `DeviceImages`.
        memory: `LossMemory` that the model was compiled with.
        share: float in (0, 1], of the images, in each epoch; 1 serves all of them.
        at_random: float in [0, 1], of those served, drawn from the easier images.
        **settings: the others of `DeviceImages`, which shuffles here. One process only.

    Raises:
        ValueError: shares out of range, or a memory of another number of images.

    Example:
        >>> memory = LossMemory(4)
        >>> memory.losses = torch.tensor([0.1, 3.0, 0.2, 2.0])
        >>> pixels = np.zeros((4, 8, 8, 3), "uint8")
        >>> hard = HardestImages(pixels, np.arange(4), 2, memory=memory, share=0.5, at_random=0.0)
        >>> [sorted(labels.tolist()) for _, labels in hard]
        [[1, 3]]
    """

    def __init__(self, images, labels, batch_size, *, memory, share, at_random=0.25, **settings):
        if not 0 < share <= 1 or not 0 <= at_random <= 1:
            raise ValueError(
                f"`share` must be in (0, 1] and `at_random` in [0, 1], got {share} and {at_random}."
            )
        if len(memory.losses) != len(images):
            raise ValueError(
                f"`memory` has {len(memory.losses)} images, the data {len(images)}: make it with "
                "LossMemory(len(images))."
            )
        self.memory, self._served_share, self.at_random = memory, share, at_random
        super().__init__(images, labels, batch_size, shuffle=True, **settings)

    @property
    def served(self):
        return max(1, round(len(self.images) * self._served_share))

    def set_share(self, share, training):
        if share.world_size > 1:
            raise ValueError("HardestImages are for one process: losses are not exchanged.")
        super().set_share(share, training)

    def order(self, epoch):
        """Indices of the images of `epoch`, chosen by their losses now, int64 `(count,)`."""
        order = super().order(epoch)  # of all images
        losses = self.memory.when_begun(epoch).to(order.device)
        if self.served == len(order):
            return order
        places = losses.index_select(0, order).argsort(descending=True, stable=True)
        count = self.served - int(self.served * self.at_random)
        easier = places[count:].sort().values  # in the mixed order again
        chosen = torch.cat([places[:count], easier[: self.served - count]])
        return order.index_select(0, chosen.sort().values)

    def batch(self, indices, epoch):
        self.memory.expect(indices)
        return super().batch(indices, epoch)
