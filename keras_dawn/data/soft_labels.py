"""Labels as class probabilities: for label smoothing, MixUp and CutMix."""

import torch.nn.functional as F
from torch.utils.data import DataLoader


class SoftLabels(DataLoader):
    """`DeviceImages` with labels as class probabilities, its batches mixed if wanted.

    `keras.losses.CategoricalCrossentropy` takes such labels, and smooths them with its
    `label_smoothing`; the same class numbers go to `SparseCategoricalCrossentropy` otherwise.
    Order, epochs and the shares of several ranks are those of the data inside. The draws of
    `mix` depend on (seed, epoch, batch, rank) alone.

    Args:
        data: `DeviceImages`.
        classes: int.
        mix: `MixUp` or `CutMix`, or `None`.

    Yields:
        `(images, labels)`: float32 `(batch, height, width, channels)` and `(batch, classes)`.

    Raises:
        ValueError: other data, or a class number that is not below `classes`.

    Example:
        >>> images = keras_dawn.data.DeviceImages(np.zeros((4, 8, 8, 3), "uint8"), [0, 1, 0, 1], 2)
        >>> mixed = SoftLabels(images, 10, keras_dawn.data.MixUp(0.2))
        >>> [tuple(labels.shape) for _, labels in mixed]
        [(2, 10), (2, 10)]
    """

    def __init__(self, data, classes, mix=None):
        if not hasattr(data, "set_share") or not hasattr(data, "labels"):
            raise ValueError(f"`data` must be DeviceImages, got {type(data).__name__}.")
        if int(data.labels.max()) >= classes:
            raise ValueError(
                f"`classes` must be above every label, got {classes} with labels up to "
                f"{int(data.labels.max())}."
            )
        self.data, self.classes, self.mix = data, classes, mix
        super().__init__(data.dataset, batch_size=data.batch_size, drop_last=data.drop_last)
        self.set_share, self.set_epoch = data.set_share, data.set_epoch

    @property
    def epoch(self):
        """The epoch of the next pass, 0-based."""
        return self.data.epoch

    @property
    def rank_weight(self):
        """What this rank's part of the last batch weighs."""
        return self.data.rank_weight

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        epoch = self.data.epoch
        for number, (images, labels) in enumerate(self.data):
            labels = F.one_hot(labels, self.classes).to(images.dtype)
            if self.mix is not None:
                entropy = [self.data.seed, epoch, number, self.data.share.rank]
                images, labels = self.mix(images, labels, entropy)
            yield images, labels
