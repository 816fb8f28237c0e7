"""Training on the images that were hardest when last seen."""

from keras_dawn.data.samplers import Shuffled

import keras
import torch
import torch.nn.functional as F


@keras.saving.register_keras_serializable(package="keras_dawn")
class LossMemory(keras.metrics.Mean):
    """The cross-entropy of the logits, and what it was for each training image when last seen.

    Compiled as a metric, it reports the mean (without label smoothing), and keeps each image's
    value for `Hardest`, on the device; an image that has not been seen has infinity.

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

    def reset_state(self):
        super().reset_state()
        # An evaluation begins, or an epoch: a batch that was only looked at is not trained on.
        self._indices = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Notes a batch: class numbers `(batch,)` or `(batch, 1)`, or probabilities; and logits."""
        targets, logits = torch.as_tensor(y_true), torch.as_tensor(y_pred).detach().float()
        if targets.shape == logits.shape:  # class numbers may come as `(batch, 1)`
            targets = targets.argmax(-1)
        losses = F.cross_entropy(logits, targets.long().reshape(-1), reduction="none")
        # In an evaluation no images are expected; and Keras tries a metric on meta tensors.
        if self._indices is not None and not losses.is_meta:
            # The memory is made before the model, when the device is not known yet.
            self.losses = self.losses.to(losses.device)
            self.losses.index_copy_(0, self._indices, losses)
            self._indices = None
        if sample_weight is not None or losses.is_meta:
            super().update_state(losses, sample_weight)
            return
        # What Keras's own does, which copies the number of images to the device and waits for it.
        self.total.assign(self.total.value + losses.sum())
        self.count.assign(self.count.value + losses.numel())

    def when_begun(self, epoch):
        """The losses with which an epoch began: those of now, but for one that is resumed."""
        if self._begun is None or self._begun[0] != epoch or not self._resumed:
            self._begun, self._resumed = (epoch, self.losses.clone()), False
        return self._begun[1]

    def get_config(self):
        """Settings for saved models; losses are not among them: a loaded one has seen nothing."""
        return {"count": len(self.losses), "name": self.name}

    def state_dict(self):
        """What `ResumeTraining.track` saves."""
        begun = self._begun and (self._begun[0], self._begun[1].cpu())
        return {"losses": self.losses.cpu(), "begun": begun}

    def load_state_dict(self, state):
        """Goes on from `state_dict`, within an epoch too."""
        self.losses, self._begun, self._resumed = state["losses"], state["begun"], True


class Hardest(Shuffled):
    """Serves a fraction of the images each epoch: the hardest, and some of the others.

    The hardest are those with the largest loss in a `LossMemory` when the epoch begins: easy
    images teach little late in a training, and cost as much as others (Jiang et al. 2019,
    arXiv:1910.00762; Jordan's airbench96 trains on the harder half of each batch). A part is drawn
    at random from the rest, so that nothing is forgotten for good.

    An epoch of fewer images has fewer batches, which Keras asks for once a `fit`: train on all
    images in a first `fit`, and on the hardest in another that goes on with `initial_epoch`.
    Order and choice depend on (seed, epoch) and the memory. One process only.

    Args:
        memory: `LossMemory` that the model was compiled with.
        fraction: float in (0, 1], of the images, in each epoch; 1 serves all of them.
        at_random: float in [0, 1], of those served, drawn from the easier images.
        seed: int, which transforms draw from too.
        weights: as for `InOrder`.

    Raises:
        ValueError: fractions out of range; where the data is made, a memory of another number of
            images; on several ranks.

    Example:
        >>> memory = LossMemory(4)
        >>> memory.losses = torch.tensor([0.1, 3.0, 0.2, 2.0])
        >>> pixels = np.zeros((4, 8, 8, 3), "uint8")
        >>> hard = Hardest(memory, fraction=0.5, at_random=0.0)
        >>> images = keras_dawn.data.DeviceImages(pixels, np.arange(4), 2, sampler=hard)
        >>> [sorted(labels.tolist()) for _, labels in images]
        [[1, 3]]
    """

    def __init__(self, memory, fraction, at_random=0.25, seed=0, *, weights=None):
        if not 0 < fraction <= 1 or not 0 <= at_random <= 1:
            raise ValueError(
                f"`fraction` must be in (0, 1] and `at_random` in [0, 1], got {fraction} and "
                f"{at_random}."
            )
        super().__init__(seed, weights)
        self.memory, self.fraction, self.at_random = memory, fraction, at_random

    def check(self, count, world_size):
        super().check(count, world_size)
        if len(self.memory.losses) != count:
            raise ValueError(
                f"`memory` has {len(self.memory.losses)} images, the data {count}: make it with "
                "LossMemory(len(images))."
            )
        if world_size > 1:
            raise ValueError("Hardest is for one process: losses are not exchanged.")

    def served(self, count):
        return max(1, round(count * self.fraction))

    def order(self, count, epoch):
        """Indices of the images of `epoch`, chosen by their losses now."""
        losses = self.memory.when_begun(epoch)
        order = super().order(count, epoch).to(losses.device)  # of all images
        served = self.served(count)
        if served == count:
            return order
        places = losses.index_select(0, order).argsort(descending=True, stable=True)
        hardest = served - int(served * self.at_random)
        easier = places[hardest:].sort().values  # in the mixed order again
        chosen = torch.cat([places[:hardest], easier[: served - hardest]])
        return order.index_select(0, chosen.sort().values)

    def expect(self, indices):
        self.memory.expect(indices)
