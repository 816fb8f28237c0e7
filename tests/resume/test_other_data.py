"""Loaders and datasets that hold other data than before, of the same size, are noticed."""

from keras_dawn import data
from keras_dawn.foundation.data_content import contents_of

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from tests.resume.lives import X, Y, life, same

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6), dtype=np.uint8)


class Files(Dataset):
    """Reads files by their paths, and changes what it reads at random."""

    def __init__(self, folder, labels=Y, names="abcdefgh"):
        folder.mkdir(exist_ok=True, parents=True)
        self.samples = [(folder / f"{names[n % 8]}{n}", int(y)) for n, y in enumerate(labels)]
        self.random, self.served = torch.Generator().manual_seed(3), 0
        for number, (path, _) in enumerate(self.samples):
            path.write_bytes(PIXELS[number].tobytes())

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        path, label = self.samples[number]
        pixels = np.frombuffer(path.read_bytes()[:6], np.uint8).astype(np.float32) / 255
        self.served += 1
        return torch.from_numpy(pixels) + 0.1 * torch.randn(6, generator=self.random), label


class Shuffles(keras.utils.PyDataset):
    """Begins in an order of its own, and shuffles its list itself."""

    def __init__(self, seed, x=X):
        super().__init__()
        self.x, self.random = x, np.random.default_rng(seed)
        self.order = self.random.permutation(40)

    def __len__(self):
        return 5

    def __getitem__(self, batch):
        places = self.order[batch * 8 : batch * 8 + 8]
        return self.x[places], Y[places]

    def on_epoch_end(self):
        self.random.shuffle(self.order)


def loader(dataset):
    return DataLoader(dataset, 8, shuffle=True)


def tensors(x=X, y=Y):
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


def images(pixels):
    pixels = np.tile(pixels[:, None, :, None], (1, 8, 2, 3))[:, :, :8]
    return data.DeviceImages(pixels, Y, 8, sampler=data.Shuffled())


def longer(dataset):
    for path, _ in dataset.samples[::2]:
        path.write_bytes(path.read_bytes() + b"x")
    return dataset


OTHERS = {
    "other labels": (lambda f: loader(tensors()), lambda f: loader(tensors(y=Y[::-1].copy()))),
    "other numbers": (lambda f: loader(tensors()), lambda f: loader(tensors(x=-X))),
    "another subset": (
        lambda f: loader(Subset(tensors(np.tile(X, (2, 1)), np.tile(Y, 2)), list(range(40)))),
        lambda f: loader(Subset(tensors(np.tile(X, (2, 1)), np.tile(Y, 2)), list(range(1, 41)))),
    ),
    "other files": (lambda f: loader(Files(f)), lambda f: loader(Files(f, names="abcdefgx"))),
    "other labels of files": (lambda f: loader(Files(f)), lambda f: loader(Files(f, Y[::-1]))),
    "files of other sizes": (lambda f: loader(Files(f)), lambda f: loader(longer(Files(f)))),
    "a dataset of Keras's": (lambda f: Shuffles(1), lambda f: Shuffles(1, X + 1)),
}  # fmt: skip


def lives(folder, first, second, cut):
    life(folder / "saved", data=lambda: (first(folder / "a"), None), cut=cut)
    return life(folder / "saved", data=lambda: (second(folder / "b"), None))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_data_is_told_from_what_there_was(kind, tmp_path):
    first, second = OTHERS[kind]
    assert contents_of(first(tmp_path / "a")) == contents_of(first(tmp_path / "b"))
    assert contents_of(first(tmp_path / "a")) != contents_of(second(tmp_path / "b"))


@pytest.mark.parametrize("kind", ["a dataset of Keras's", "files of other sizes"])
def test_other_data_within_an_epoch_is_refused_by_name(kind, tmp_path):
    with pytest.raises(ValueError, match="the data has changed since: (dataset/samples|x) "):
        lives(tmp_path, *OTHERS[kind], cut=8)


def test_other_data_is_taken_up_between_epochs_and_named(tmp_path, capsys):
    lives(tmp_path, *OTHERS["other labels"], cut=5)
    assert (
        "takes up what has changed: dataset/tensors/1 has other values." in capsys.readouterr().err
    )


SAME = {
    "files that have moved": lambda f: loader(Files(f)),
    "an order that is put back": lambda f: Shuffles(ord(f.name)),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_data_raises_no_alarm(kind, tmp_path, capsys):
    whole = life(tmp_path / "whole", data=lambda: (SAME[kind](tmp_path / "a"), None))
    same(lives(tmp_path, SAME[kind], SAME[kind], cut=13), whole)
    assert "takes up" not in capsys.readouterr().err


def test_data_of_this_package_is_looked_into():
    one, other, again = (contents_of(images(each)) for each in (PIXELS, PIXELS[::-1], PIXELS))
    assert one == again != other and one["images"] != other["images"]


def test_each_column_of_a_name_that_a_table_has_twice_is_looked_at():
    pandas = pytest.importorskip("pandas")
    tables = [pandas.DataFrame([[1, 2], [3, last]], columns=["a", "a"]) for last in (4, 4, 5)]
    one, again, other = (contents_of([table]) for table in tables)
    assert one == again != other


def test_other_data_to_validate_on_is_named(tmp_path, capsys):
    def train():
        return X, Y

    life(tmp_path, data=train, cut=8, validation_data=(X[:8], Y[:8]))
    life(tmp_path, data=train, validation_data=(X[:8], Y[8:16]))
    assert (
        "takes up what has changed: targets to validate on: other values."
        in capsys.readouterr().err
    )
