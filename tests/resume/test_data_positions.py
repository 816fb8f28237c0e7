"""A training goes on with the batch that it would have been trained on next, whatever its data."""

import itertools
import random

import keras_dawn
from keras_dawn import ResumeTraining, data

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tests.resume.lives import X, Y, ends_the_same, life, same

ROWS = list(zip(torch.tensor(X), torch.tensor(Y), strict=True))
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6), dtype=np.uint8)


class Transformed(Dataset):
    """Items drawn at random, by torch's, NumPy's and Python's numbers and by its own."""

    def __init__(self):
        self.own = np.random.default_rng(3)

    def __len__(self):
        return 40

    def __getitem__(self, place):
        noise = torch.randn(6) + float(np.random.normal()) + random.random() + self.own.normal()
        return torch.tensor(X[place]) + 0.1 * noise.float(), int(Y[place])


class Batches(keras.utils.PyDataset):
    def __init__(self, shuffles=None, **settings):
        super().__init__(**settings)
        self.places, self.shuffles = np.arange(40), shuffles
        self.rows = list(range(40))

    def __len__(self):
        return 5

    def __getitem__(self, number):
        part = slice(8 * number, 8 * number + 8)
        chosen = self.rows[part] if self.shuffles == "a list" else self.places[part]
        return X[chosen], Y[chosen]

    def on_epoch_end(self):
        if self.shuffles == "an array":
            np.random.shuffle(self.places)
        elif self.shuffles == "a list":
            random.shuffle(self.rows)
        elif self.shuffles == "another array":
            self.places = np.random.permutation(40)


class Counting(Batches):
    """Shows other batches in every pass, by a count of its own."""

    count = 0

    def on_epoch_begin(self):
        self.count += 1
        self.places = np.random.default_rng(self.count).permutation(40)


class Rows(Batches):
    """Shuffles the data itself."""

    def __init__(self):
        super().__init__()
        self.pairs = [(row, int(label)) for row, label in zip(X, Y, strict=True)]

    def __getitem__(self, number):
        rows, labels = zip(*self.pairs[8 * number : 8 * number + 8], strict=True)
        return np.stack(rows), np.array(labels)

    def on_epoch_end(self):
        random.shuffle(self.pairs)


class Counted(Dataset):
    """Items by iterators of Python's, which do not tell where they are."""

    def __init__(self):
        self.count, self.turn = itertools.count(), itertools.cycle([1.0, 2.0, 3.0])

    def __len__(self):
        return 40

    def __getitem__(self, place):
        return X[place] * (next(self.turn) + 0.01 * next(self.count)), Y[place]


class Stream(IterableDataset):
    def __iter__(self):
        order = torch.randperm(40)
        for start in range(0, 40, 8):
            yield (
                torch.tensor(X)[order[start : start + 8]],
                torch.tensor(Y)[order[start : start + 8]],
            )


class RowsInTurn(IterableDataset):
    def __iter__(self):
        return zip(torch.tensor(X), torch.tensor(Y), strict=True)

    def __len__(self):
        return len(X)


def generator():
    for number in range(10**6):
        places = np.arange(8 * number, 8 * number + 8) % 40
        yield X[places] + number, Y[places]


def loader(rows=ROWS, **settings):
    return lambda: (
        DataLoader(rows() if callable(rows) else rows, **{"batch_size": 8, **settings}),
        None,
    )


def own_generator():
    return DataLoader(ROWS, 8, shuffle=True, generator=torch.Generator().manual_seed(3)), None


def own_sampler():
    sampler = torch.utils.data.RandomSampler(ROWS, generator=torch.Generator().manual_seed(5))
    return DataLoader(ROWS, 8, sampler=sampler), None


KINDS = {
    "arrays": lambda: (X, Y),
    "a loader": loader(shuffle=True),
    "random transforms": loader(Transformed, shuffle=True),
    "a loader's own generator": own_generator,
    "a sampler's own generator": own_sampler,
    "PyDataset": lambda: (Batches(), None),
    "PyDataset with workers": lambda: (Batches(workers=2), None),
    "PyDataset that shuffles an array": lambda: (Batches("an array"), None),
    "PyDataset that shuffles a list": lambda: (Batches("a list"), None),
    "PyDataset that makes a new array": lambda: (Batches("another array"), None),
    "PyDataset that counts": lambda: (Counting(), None),
    "a list of rows that is shuffled": lambda: (Rows(), None),
    "IterableDataset": loader(Stream, batch_size=None),
}
WITH_WORKERS = {
    "workers": loader(shuffle=True, num_workers=2),
    "workers that live on": loader(
        Transformed, shuffle=True, num_workers=2, persistent_workers=True
    ),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # of a length unknown to Keras
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_goes_on_where_it_was(kind, tmp_path):
    ends_the_same(tmp_path, cuts=(7, 6), data=KINDS[kind])


def test_a_stream_goes_on_between_two_epochs(tmp_path):
    ends_the_same(tmp_path, cuts=(12,), data=loader(RowsInTurn), every_steps=None)


def test_iterators_of_pythons_go_on_though_the_training_draws_random_numbers_too(tmp_path, capsys):
    def draws():  # as dropout does, between the passes over the data too
        return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: torch.rand(1))]

    data = loader(Counted, shuffle=True)
    ends_the_same(tmp_path, cuts=(10, 8), data=data, callbacks=draws)
    said = capsys.readouterr().err
    assert said.count("the data only reads on and does not tell its place") == 2  # one a training


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("cut", range(1, 20, 2))
@pytest.mark.parametrize("kind", [*KINDS, *WITH_WORKERS])
def test_every_kind_of_data_goes_on_from_every_step(kind, cut, accelerated, tmp_path):
    kinds = {**KINDS, **WITH_WORKERS}
    seeds = (1, 9) if cut > 4 and kind != "PyDataset with workers" else (1,)
    ends_the_same(tmp_path, cuts=(cut,), seeds=seeds[:1], data=kinds[kind], accelerated=accelerated)


@pytest.mark.parametrize(
    "kind",
    ["arrays", "a loader's own generator", "random transforms", "PyDataset that shuffles a list"],
)
def test_the_random_numbers_come_from_the_checkpoint(kind, tmp_path):
    whole = life(tmp_path / "whole", data=KINDS[kind])
    life(tmp_path / "cut", data=KINDS[kind], cut=13)
    same(life(tmp_path / "cut", data=KINDS[kind], seed=99), whole)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # at 3 of 5 steps
@pytest.mark.parametrize("steps", [3, 5])
@pytest.mark.parametrize(
    "kind", ["arrays", "a loader's own generator", "random transforms", "PyDataset", "generator"]
)
def test_data_that_goes_on_over_epochs(kind, steps, tmp_path):
    made = (lambda: (generator(), None)) if kind == "generator" else KINDS[kind]
    ends_the_same(tmp_path, cuts=(steps + 1, 4), data=made, steps_per_epoch=steps)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_device_images_under_steps_per_epoch(tmp_path):
    def images():
        pixels = PIXELS.reshape(40, 1, 2, 3).repeat(2, 1)
        return data.DeviceImages(pixels, Y, 8, sampler=data.Shuffled()), None

    def once(folder, cut=None):
        from tests.resume.test_resume import Cut

        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        keras_dawn.accelerate(model)
        callbacks = [Cut(cut), ResumeTraining(folder, every_steps=1)]
        fit = {"epochs": 5, "steps_per_epoch": 3, "shuffle": False, "verbose": 0}
        try:
            model.fit(images()[0], callbacks=callbacks, **fit)
        except RuntimeError:
            assert cut is not None
        return model

    whole = once(tmp_path / "whole")
    for cut in (7, 5):
        once(tmp_path / "cut", cut)
    same(once(tmp_path / "cut"), whole)


def test_a_generator_that_gives_other_batches_is_refused(tmp_path):
    def unseeded():
        source = np.random.default_rng()
        while True:
            yield source.normal(size=(8, 6)).astype("float32"), Y[:8]

    def made():
        return unseeded(), None

    life(tmp_path, data=made, cut=7, steps_per_epoch=3)
    with pytest.raises(ValueError, match="does not give the batches again"):
        life(tmp_path, data=made, steps_per_epoch=3)


def test_a_list_of_objects_that_was_shuffled_otherwise_is_refused(tmp_path):
    life(tmp_path, data=lambda: (Rows(), None), cut=7)
    with pytest.raises(ValueError, match="The list pairs in the data starts in another order"):
        life(tmp_path, data=lambda: (Rows(), None), seed=99)


def test_data_that_ends_sooner_is_refused(tmp_path):
    def made(batches):
        def few():
            for number, batch in enumerate(generator()):
                if number == batches:
                    return
                yield batch

        return lambda: (few(), None)

    life(tmp_path, data=made(100), cut=7, steps_per_epoch=3)
    with pytest.raises(ValueError, match="ends after 5 batches"):
        life(tmp_path, data=made(5), steps_per_epoch=3)


def test_a_queue_that_goes_on_over_epochs_is_refused_when_the_training_begins(tmp_path):
    with pytest.raises(ValueError, match="make the PyDataset with workers=1"):
        life(tmp_path, data=lambda: (Batches(workers=2), None), steps_per_epoch=3)


def test_a_loop_of_ones_own_is_refused(tmp_path):
    resume = ResumeTraining(tmp_path)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    callbacks = keras.callbacks.CallbackList([resume], model=model, epochs=1, steps=1)
    with pytest.raises(ValueError, match=r"works only inside `keras.Model.fit`"):
        callbacks.on_train_begin()
