"""Batches that are described and not yet made, so that a CUDA graph can make them."""

import functools
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


@dataclass(frozen=True, eq=False)
class Read:
    """What a batch is made by besides its images' places, as it was when the batch was fetched.

    A callback may change the data between that and the step that makes the batch.

    Args:
        transforms: `Pipeline`.
        seed: int, the sampler's.
        tensors: list of the tensors that every batch is taken from.
        weights: tensor of the sampler's weights, or `None`.
    """

    transforms: object
    seed: int
    tensors: list
    weights: object

    def weights_of(self, places):
        """The weights of images at these places, on the device, or `None`."""
        return None if self.weights is None else self.weights.index_select(0, places)

    def memory(self):
        """Where it lies."""
        weights = [] if self.weights is None else [self.weights]
        return tuple((each.data_ptr(), each.shape) for each in (*self.tensors, *weights))


class Describer:
    """Describes the batches of one pass over a data set.

    Args:
        data: `DeviceImages` or `ResizingImages`: its `transforms`, `sampler`, `settings_epoch`.
        device: torch device.
        transformed: callable `(read, tensors, epoch, settings, entropy, numbers)`, which makes a
            batch: told a `Read`, such tensors as a call is given, the epoch as an int or a tensor,
            the epoch of the settings, and either `entropy` or `numbers` of `Pipeline`.
    """

    def __init__(self, data, device, transformed):
        self._data, self._device, self._transformed = data, device, transformed
        self._known = None, None  # an epoch, and the same on the device
        self._pipelines = {}  # by all their settings: copies that nobody changes

    def __call__(self, tensors, entropy, size, made, reads=()):
        """A batch as `Unmade`, or made where its transforms need their Python.

        Args:
            tensors: list of tensors on the device, what differs between batches of one kind.
            entropy: list of ints, (seed, epoch, batch, rank).
            size: `(height, width)` before the transforms.
            made: callable without arguments that makes the batch now.
            reads: list of the tensors that every batch is taken from.
        """
        data, transformed, epoch = self._data, self._transformed, entropy[1]
        settings = epoch if data.settings_epoch is None else data.settings_epoch
        kind = data.transforms.kind(settings)
        if kind is None:
            return made()
        if self._known[0] != epoch:
            self._known = epoch, self._moved(epoch)
        numbers = data.transforms.draw(entropy, size, settings)
        drawn = [self._moved(numbers)] if numbers else []
        if (kind, settings) not in self._pipelines:
            self._pipelines[kind, settings] = data.transforms.copy_at(settings)
        weights = data.sampler.weights_on(self._device)
        read = Read(self._pipelines[kind, settings], data.sampler.seed, list(reads), weights)

        def make(*given):
            batch, (when, *numbers) = given[: len(tensors)], given[len(tensors) :]
            return transformed(read, batch, when, settings, None, *(numbers or [None]))

        kind = type(data), read.seed, kind, size, read.memory()
        made = functools.partial(transformed, read, tensors, epoch, settings, entropy, None)
        return Unmade([*tensors, self._known[1], *drawn], kind, make, made)

    def _moved(self, numbers):
        return moved(torch.tensor(numbers), self._device)


def tells_nobody(sampler):
    """Whether a sampler's part in a batch is what `InOrder` does: no Python of its own."""
    kind = type(sampler)
    return kind.expect is InOrder.expect and kind.weights_of is InOrder.weights_of
