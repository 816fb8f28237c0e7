"""A training goes on bit for bit, wherever its data keeps what changes."""

import collections
import functools
import random

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, default_collate

from tests.resume.lives import X, Y, ends_the_same, life

MODULES = np.random.default_rng(0)


class Ordered(keras.utils.PyDataset):
    """Batches in an order that `begin` makes and `change` changes after every epoch."""

    def __init__(self):
        super().__init__()
        self.own = np.random.default_rng(1)
        self.begin()

    def __len__(self):
        return 5

    def __getitem__(self, number):
        chosen = list(self.order())[8 * number : 8 * number + 8]
        return X[chosen], Y[chosen]

    def on_epoch_end(self):
        self.change()

    def begin(self):
        self.order = lambda: range(40)

    def change(self):
        pass


class ListReplaced(Ordered):
    def begin(self):
        self.rows, self.python = list(range(40)), random.Random(1)

    def order(self):
        return self.rows

    def change(self):
        self.rows = self.python.sample(self.rows, 40)


class GeneratorReplaced(Ordered):
    epoch = 0

    def order(self):
        return self.own.permutation(40)

    def begin(self):
        pass

    def change(self):
        self.epoch += 1
        self.own = np.random.default_rng(self.epoch)


class ArrayInADict(ListReplaced):
    def begin(self):
        self.held = {"rows": np.arange(40)}

    def order(self):
        return self.held["rows"]

    def change(self):
        self.own.shuffle(self.order())


class ArrayInAList(ArrayInADict):
    def begin(self):
        self.held = [np.arange(40)]

    def order(self):
        return self.held[0]


class Deque(Ordered):
    def begin(self):
        self.rows = collections.deque(range(40))

    def order(self):
        return self.rows

    def change(self):
        self.rows.rotate(5)


class Set(Ordered):
    def begin(self):
        self.first = set()

    def order(self):
        return sorted(self.first) + [row for row in range(40) if row not in self.first]

    def change(self):
        self.first.add(int(self.own.integers(40)))


class Bytes(Ordered):
    def begin(self):
        self.rows = bytearray(range(40))

    def order(self):
        return self.rows

    def change(self):
        self.rows.append(self.rows.pop(0))


class Slots(Ordered):
    class Place:
        __slots__ = ("epoch",)

    def begin(self):
        self.place = self.Place()
        self.place.epoch = 0

    def order(self):
        return np.random.RandomState(self.place.epoch).permutation(40)

    def change(self):
        self.place.epoch += 1


class Late(Ordered):
    def begin(self):
        pass

    def order(self):
        return getattr(self, "rows", np.arange(40))

    def change(self):
        self.rows = np.roll(self.order(), 3)


class NoneAtFirst(Late):
    def begin(self):
        self.rows = None

    def order(self):
        return np.arange(40) if self.rows is None else self.rows

    def change(self):
        self.rows = self.own.permutation(40)


class LargeArray(Ordered):
    def begin(self):
        self.start = np.zeros(100_000, np.int64)

    def order(self):
        return np.roll(np.arange(40), self.start[1])

    def change(self):
        self.start[1] += 3


class Augmented(Ordered):
    def begin(self):
        self.augment = keras.layers.GaussianNoise(0.5, seed=3)

    def order(self):
        return range(40)

    def __getitem__(self, number):
        x, y = super().__getitem__(number)
        return self.augment(torch.tensor(x), training=True).numpy(force=True), y


class OwnLayer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.own = torch.Generator().manual_seed(1)

    def call(self, x):
        return noisy(self.own, x)


class AugmentedByOwn(Augmented):
    def begin(self):
        self.augment = keras.Sequential([OwnLayer(), keras.layers.Dropout(0.5, seed=2)])


class Noise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.own = torch.Generator().manual_seed(1)

    def forward(self, x):
        return noisy(self.own, x)


class Table(Ordered):
    def begin(self):
        pandas = pytest.importorskip("pandas")
        self.table = pandas.DataFrame({"row": range(40), "name": list("abcd") * 10})

    def order(self):
        return self.table["row"].to_numpy()

    def change(self):
        self.table = self.table.sample(frac=1, random_state=self.own).reset_index(drop=True)


def noisy(generator, x):
    return x + 0.5 * torch.randn(x.shape, generator=generator).to(x.device)


def closed_over():
    own = torch.Generator().manual_seed(1)
    return lambda x: noisy(own, x)


class Items(Dataset):
    def __init__(self, transform, rows=range(40)):
        self.transform, self.rows = transform, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.transform(torch.tensor(X[self.rows[place]])), int(Y[self.rows[place]])


class OfTheModule(Items):
    def __getitem__(self, place):
        x, y = super().__getitem__(place)
        return x + float(MODULES.normal()), y


class Compose:
    def __init__(self, *transforms):
        self.transforms = transforms

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


class Collating:
    def __init__(self):
        self.own = torch.Generator().manual_seed(1)

    def collate(self, items):
        x, y = default_collate(items)
        return noisy(self.own, x), y


def of_the_module():
    global MODULES
    MODULES = np.random.default_rng(0)
    return OfTheModule(Compose())


def deep():
    parts = [Items(Compose(Noise()), range(20 * n, 20 * n + 20)) for n in range(2)]
    return ConcatDataset([Subset(part, range(20)) for part in parts])


def many():
    return ConcatDataset([Items(Noise(), [number % 40]) for number in range(66)])


PASSES = [
    ListReplaced, GeneratorReplaced, ArrayInADict, ArrayInAList, Deque, Set, Bytes, Slots, Late,
    NoneAtFirst, LargeArray, Augmented, AugmentedByOwn, Table,
]  # fmt: skip
ITEMS = {
    "a module": lambda: Items(Noise()),
    "a partial": lambda: Items(functools.partial(noisy, torch.Generator().manual_seed(1))),
    "a closure": lambda: Items(closed_over()),
    "a module's name": of_the_module,
    "sets within sets": deep,
    "many sets": many,
}


@pytest.mark.parametrize("kind", PASSES)
def test_what_a_dataset_keeps_goes_on(kind, tmp_path):
    ends_the_same(tmp_path, cuts=(13,), data=lambda: (kind(), None), accelerated=False)


@pytest.mark.parametrize("kind", ITEMS)
def test_what_transforms_keep_goes_on(kind, tmp_path):
    def made():
        return DataLoader(ITEMS[kind](), 8), None

    ends_the_same(tmp_path, cuts=(13,), data=made, accelerated=False)


def test_what_a_bound_collate_function_keeps_goes_on(tmp_path):
    def made():
        return DataLoader(Items(Compose()), 8, collate_fn=Collating().collate), None

    ends_the_same(tmp_path, cuts=(13,), data=made, accelerated=False)


def test_a_loader_that_tells_its_place_is_gone_through_again(tmp_path):
    class Telling(DataLoader):
        """As torchdata's: what it tells is where it has fetched to."""

        place, skips = 0, 0

        def __iter__(self):
            first, self.skips, self.place = self.skips, 0, 0
            for number, batch in enumerate(super().__iter__()):
                self.place += 1
                if number >= first:
                    yield batch

        def state_dict(self):
            return {"place": self.place}

        def load_state_dict(self, state):
            self.skips = state["place"]

    ends_the_same(
        tmp_path, cuts=(13,), data=lambda: (Telling(Items(Noise()), 8), None), accelerated=False
    )


def test_data_with_a_queue_is_refused_when_the_training_begins(tmp_path):
    import queue

    class Queued(Ordered):
        def begin(self):
            self.ahead = {"of": queue.Queue()}

        def order(self):
            return range(40)

    with pytest.raises(ValueError, match=r"cannot follow ahead/of in the data: it is a queue.*`st"):
        life(tmp_path, data=lambda: (Queued(), None))
    assert not list(tmp_path.glob("checkpoint*"))
