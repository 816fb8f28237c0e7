"""Batches that are described and not yet made, so that a CUDA graph can make them."""

from dataclasses import dataclass

from keras_dawn.data.samplers import InOrder
from keras_dawn.foundation.device import moved

import torch


@dataclass(frozen=True, eq=False)
class Unmade:
    """A batch that operations on the device alone make of a few tensors.

    What makes one batch makes any other of its `kind`, from that one's `tensors`: a graph that has
    recorded it goes on to make the next ones. Nothing has been computed yet.

    Args:
        tensors: list of tensors on the device.
        kind: tuple, equal for two batches that the same operations make.
        make: callable, told tensors like `tensors`; returns `(images, labels)`, or with weights
            `(images, labels, weights)`.
        made: callable without arguments, which makes this batch as iterating over the data does.

    Example:
        >>> double = Unmade([torch.ones(2)], ("double",), lambda x: (2 * x, x), lambda: None)
        >>> double.make(*double.tensors)
        (tensor([2., 2.]), tensor([1., 1.]))
    """

    tensors: list
    kind: tuple
    make: object
    made: object


class Describer:
    """Describes the batches of one pass over a data set.

    Args:
        data: `DeviceImages` or `ResizingImages`: its `transforms`, `sampler`, `settings_epoch`.
        device: torch device.
        reads: list of the tensors that every batch is taken from.
    """

    def __init__(self, data, device, reads=()):
        self._data, self._device, self._reads = data, device, reads
        self._known = None, None  # an epoch, and the same on the device

    def __call__(self, tensors, entropy, size, transformed, made):
        """A batch as `Unmade`, or made where its transforms need their Python.

        Args:
            tensors: list of tensors on the device, what differs between batches of one kind.
            entropy: list of ints, (seed, epoch, batch, rank).
            size: `(height, width)` before the transforms.
            transformed: callable, told such tensors, the epoch as a tensor, the epoch of the
                settings and `numbers` of `Pipeline`; makes the batch.
            made: callable without arguments that does the same on its own.
        """
        pipeline, sampler, epoch = self._data.transforms, self._data.sampler, entropy[1]
        settings = epoch if self._data.settings_epoch is None else self._data.settings_epoch
        kind = pipeline.kind(settings)
        if kind is None:
            return made()
        if self._known[0] != epoch:
            self._known = epoch, self._moved(epoch)
        numbers = pipeline.draw(entropy, size, settings)
        drawn = [self._moved(numbers)] if numbers else []

        def make(*given):
            batch, (when, *numbers) = given[: len(tensors)], given[len(tensors) :]
            return transformed(*batch, when, settings, *(numbers or [None]))

        weights = [] if sampler.weights is None else [sampler.weights]
        memory = tuple((each.data_ptr(), each.shape) for each in (*self._reads, *weights))
        kind = type(self._data), sampler.seed, kind, size, memory
        return Unmade([*tensors, self._known[1], *drawn], kind, make, made)

    def _moved(self, numbers):
        return moved(torch.tensor(numbers), self._device)


def tells_nobody(sampler):
    """Whether a sampler's part in a batch is what `InOrder` does: no Python of its own."""
    kind = type(sampler)
    return kind.expect is InOrder.expect and kind.weights_of is InOrder.weights_of
