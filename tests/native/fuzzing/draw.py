"""Random choices from a seed, and Python source made of them."""

import random


class Source(str):
    """Python source that stands for itself inside a larger one."""

    __slots__ = ()

    def __repr__(self):
        return str(self)


def call(function, *args, **settings):
    """The source of a call; settings that are `None` are left out."""
    settings = [f"{name}={value!r}" for name, value in settings.items() if value is not None]
    return Source(f"{function}({', '.join([*map(repr, args), *settings])})")


class Draw:
    """Choices from a seed: the same seed makes the same choices."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self._data = 0

    def chance(self, probability):
        """True with a probability."""
        return self._random.random() < probability

    def number(self, lowest, highest):
        """A whole number, both ends included."""
        return self._random.randint(lowest, highest)

    def pick(self, *options):
        """One of the options."""
        return self._random.choice(options)

    def maybe(self, probability, *options):
        """One of the options with a probability, else `None`: the default."""
        return self.pick(*options) if self.chance(probability) else None

    def weighted(self, weights):
        """A key of a dict, by its value."""
        return self._random.choices(list(weights), list(weights.values()))[0]

    def shuffled(self, items):
        """The items in another order."""
        return self._random.sample(list(items), len(items))

    def data_seed(self):
        """A fresh number for the program's own data."""
        self._data += 1
        return self._data
