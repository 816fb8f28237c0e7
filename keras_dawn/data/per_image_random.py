"""Random numbers for augmentation that depend on nothing but (seed, epoch, image)."""

import functools

import torch


class PerImageRandom:
    """Draws for a batch of images, each a pure function of (seed, epoch, index, draw).

    A counter-based generator (the finaliser of SplitMix64, Steele et al. 2014, over the
    four numbers) instead of a stateful one: an image gets the same crop and flip in an
    epoch whatever the batch size, the order, the device or the number of processes.

    Args:
        seed: int.
        epoch: int from 0 up, or int64 tensor of shape `()`, where a graph is to read it.
        indices: int64 tensor of shape `(batch,)`, the images' places in the whole set.
        settings_epoch: int, the epoch whose transforms and sizes are used; by default `epoch`.

    Example:
        >>> random = PerImageRandom(0, epoch=3, indices=torch.tensor([7, 9]))
        >>> random.integers(0, 9).shape
        torch.Size([2])
    """

    def __init__(self, seed, epoch, indices, settings_epoch=None):
        self.epoch = epoch
        self.settings_epoch = epoch if settings_epoch is None else settings_epoch
        self.indices = indices
        self._seed = seed
        self._draws = 0

    @functools.cached_property
    def _key(self):  # a dozen kernels, for those who draw
        if isinstance(self.epoch, torch.Tensor):  # int64 wraps around, as `_signed` does
            place = (self.epoch + _signed(self._seed * _ODD)) * _signed(_ODD)
        else:
            place = _signed((self._seed * _ODD + self.epoch) * _ODD)
        return _mix(self.indices ^ place)

    def uniform(self, low=0.0, high=1.0):
        """float32 tensor of shape `(batch,)`, uniform in [low, high)."""
        # 24 bits, as many as a float32 holds: more could round up to `high`.
        return low + (high - low) * (self._bits() >> 40).to(torch.float32) / 2**24

    def integers(self, low, high):
        """int64 tensor of shape `(batch,)`, uniform in low, …, high - 1."""
        # The upper half of a product, not a remainder: no division, and hardly any bias.
        return low + ((self._bits() >> 32) * (high - low) >> 32)

    def coin(self):
        """bool tensor of shape `(batch,)`."""
        return self._bits() >> 63 == 1

    def _bits(self):
        """64 random bits per image as int64, to be read from the top after a logical shift."""
        # A later draw must differ from an earlier one, whoever asks: the count is part of the key.
        self._draws += 1
        return _Unsigned(_mix(self._key + _signed(self._draws * _ODD)))


_ODD = 0x9E3779B97F4A7C15  # SplitMix64's step: 2⁶⁴ over the golden ratio


class _Unsigned:
    """int64 bits whose right shift brings in zeros."""

    def __init__(self, bits):
        self.bits = bits

    def __rshift__(self, places):
        return (self.bits >> places) & ((1 << (64 - places)) - 1)


def _signed(number):
    """The 64-bit two's complement of a Python int."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _mix(bits):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (_Unsigned(bits) >> shift)) * _signed(factor)
    return bits ^ (_Unsigned(bits) >> 31)
