"""Settings of data and plans that the script has changed: named, and refused within an epoch."""

import time

from keras_dawn import Phase, ResumeTraining, TrainingPlan, data, fit_plan
from keras_dawn.resume.data_settings import settings_of_data
from keras_dawn.resume.described_settings import settings
from keras_dawn.schedules import ParameterSchedule, constant

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tests.resume.lives import X, Y, life
from tests.resume.test_resume import Cut, build, images
from tests.resume.this_process import as_another_process

MIDDLE, BOUNDARY = 8, 5  # steps after which a life is cut off, of 5 an epoch


class Brighter:
    """A transform without a `repr`."""

    def __init__(self, strength, port=None):
        self.strength, self.folder = strength, f"/somewhere/{port}"

    def __call__(self, pixels, random=None):
        return pixels * (1 + self.strength)


class Rows(Dataset):
    def __init__(self, strength=0.0, seed=0):
        self.transform, self.seed = Brighter(strength, port=id(self)), seed

    def __len__(self):
        return len(X)

    def __getitem__(self, number):
        return self.transform(torch.from_numpy(X[number])), int(Y[number])


class EveryOther(torch.utils.data.Sampler):
    def __init__(self, start):
        self.start = start

    def __iter__(self):
        return iter([n for s in (self.start, 1 - self.start) for n in range(s, 40, 2)])

    def __len__(self):
        return 40


def loader(dataset=None, **settings):
    return DataLoader(Rows() if dataset is None else dataset, 8, **settings)


def pictures(*transforms, seed=0):
    return images(40, transforms=list(transforms), sampler=data.Shuffled(seed))


def trained(folder, made, cut=None):
    as_another_process(1)
    model = build(accelerated=False)
    try:
        callbacks = [Cut(cut), ResumeTraining(folder, every_steps=2)]
        model.fit(made, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
    except RuntimeError as error:
        assert "cut off" in str(error)


OURS = {
    "a seed": (
        lambda: pictures(seed=0),
        lambda: pictures(seed=5),
        "sampler Shuffled(seed=0) → Shuffled(seed=5)",
    ),
    "a number": (
        lambda: pictures(data.PadCrop(1), data.RandomFlip()),
        lambda: pictures(data.PadCrop(3), data.RandomFlip()),
        "transforms PadCrop(padding=1) → PadCrop(padding=3)",
    ),
    "one more": (
        lambda: pictures(data.PadCrop(1)),
        lambda: pictures(data.PadCrop(1), data.Cutout(2)),
        "transforms none → Cutout(size=2, value=0)",
    ),
    "their order": (
        lambda: pictures(data.Cutout(2), data.PadCrop(1), data.Normalize()),
        lambda: pictures(data.PadCrop(1), data.Cutout(2), data.Normalize()),
        "transforms Cutout(size=2, value=0), then PadCrop(padding=1), then Normalize(",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OURS)
def test_order_and_transforms_of_this_packages_data_are_refused_within_an_epoch(kind, tmp_path):
    first, second, words = OURS[kind]
    trained(tmp_path, first(), cut=MIDDLE)
    with pytest.raises(ValueError) as refused:
        trained(tmp_path, second())
    assert f"the data has changed since: {words}" in str(refused.value)
    assert "transforms/by_epoch" not in str(refused.value)


def test_order_and_transforms_are_taken_up_between_epochs_and_named(tmp_path, capsys):
    trained(tmp_path, pictures(data.PadCrop(1)), cut=BOUNDARY)
    trained(tmp_path, pictures(data.PadCrop(2), seed=5))
    said = capsys.readouterr().err
    assert "sampler Shuffled(seed=0) → Shuffled(seed=5)" in said
    assert "transforms PadCrop(padding=1) → PadCrop(padding=2)" in said


def test_numbers_in_transforms_of_ones_own_are_named_and_taken_up(tmp_path, capsys):
    made = pictures(Brighter(0.1, 1))
    assert {*settings_of_data(made)} == {
        "sampler",
        "transforms",
        "transforms/by_epoch/0/0/strength",
    }
    trained(tmp_path, made, cut=MIDDLE)
    trained(tmp_path, pictures(Brighter(0.5, 2)))
    said = capsys.readouterr().err
    assert "takes up what has changed: strength of Brighter 0.1 → 0.5." in said


def test_numbers_in_datasets_are_named_and_seeds_refused_within_an_epoch(tmp_path, capsys):
    life(tmp_path, data=lambda: (loader(Rows(0.1)), None), cut=MIDDLE)
    with pytest.raises(ValueError, match="seed of Rows 0 → 7"):
        life(tmp_path, data=lambda: (loader(Rows(0.1, seed=7)), None))
    life(tmp_path, data=lambda: (loader(Rows(0.5)), None))
    said = capsys.readouterr().err
    assert "takes up what has changed: strength of Brighter 0.1 → 0.5." in said


class Counts(Rows):
    def __getitem__(self, number):
        self.seed += 1
        return super().__getitem__(number)


def test_numbers_that_a_checkpoint_puts_back_may_begin_as_they_like(tmp_path, capsys):
    life(tmp_path, data=lambda: (loader(Counts(seed=1)), None), cut=MIDDLE)
    rows = Counts(seed=100)
    life(tmp_path, data=lambda: (loader(rows), None))
    assert rows.seed == 1 + 8 + 4 * 40  # Keras looks at a batch before it trains
    assert "takes up" not in capsys.readouterr().err


def test_samplers_of_ones_own_and_of_torch_are_refused_within_an_epoch(tmp_path):
    life(tmp_path, data=lambda: (loader(sampler=EveryOther(0)), None), cut=MIDDLE)
    with pytest.raises(ValueError, match="start of EveryOther 0 → 1"):
        life(tmp_path, data=lambda: (loader(sampler=EveryOther(1)), None))
    one, other = (
        settings_of_data(loader(sampler=DistributedSampler(Rows(), ranks, 0, seed=ranks)))
        for ranks in (1, 2)
    )
    assert {way for way in one if one[way] != other[way]} == {"sampler/seed"}
    assert one["sampler/seed"] == ["seed of DistributedSampler", "1", True]


class Record:
    """Raises `KeyError` for names that it does not have, as records of tables do."""

    def __getattr__(self, name):
        if name == "__qualname__":
            raise KeyError(name)
        raise AttributeError(name)


class Timed(EveryOther):
    def __init__(self):
        super().__init__(0)
        self.began, self.verbose = time.perf_counter() + 1e-9, time.time() % 2 > 1


def test_clocks_and_odd_objects_in_data_change_nothing(tmp_path, capsys):
    def made():
        rows = Rows()
        rows.odd, rows.opened = Record(), time.perf_counter()
        return loader(rows, sampler=Timed())

    for cut in (MIDDLE, None, None):  # the last: of a complete training
        life(tmp_path, data=lambda: (made(), None), cut=cut)
    said = capsys.readouterr().err
    assert "began" not in said and "opened" not in said and "already complete" in said


def test_data_to_validate_on_is_named(tmp_path, capsys):
    def train():
        return X, Y

    life(tmp_path, data=train, cut=MIDDLE, validation_data=loader(Rows(0.1)))
    life(tmp_path, data=train, validation_data=loader(Rows(0.5)))
    assert "strength of Brighter 0.1 → 0.5, to validate on." in capsys.readouterr().err


SEEN = []


class Look(keras.layers.Layer):
    def call(self, x, training=False):
        if training and not isinstance(x, keras.KerasTensor) and x.device.type != "meta":
            SEEN.extend(x[:, 0].tolist())
        return x


@pytest.mark.parametrize("workers", [(1, 0), (0, 1)])
def test_other_workers_within_an_epoch_are_named_and_serve_the_rest_of_it(
    workers, tmp_path, capsys
):
    numbers = np.arange(40, dtype="float32")[:, None]
    rows = [*zip(torch.from_numpy(numbers), Y.tolist(), strict=True)]
    seen = []
    for count, cut in zip(workers, (8, None), strict=True):
        as_another_process(1)
        SEEN.clear()
        model = keras.Sequential(
            [keras.Input((1,)), Look(), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)
        resume = ResumeTraining(tmp_path, every_steps=1)
        made = loader(rows, shuffle=True, num_workers=count)
        try:
            model.fit(made, epochs=2, verbose=0, callbacks=[Cut(cut), resume], shuffle=False)
        except RuntimeError as error:
            assert "cut off" in str(error)
        seen.append([*SEEN])
    said = capsys.readouterr().err
    assert f"takes up what has changed: num_workers {workers[0]} → {workers[1]}." in said
    assert "goes on at epoch 2, step 4 of 5" in said
    # The list is put back as the first life left it.
    assert len(seen[0]) == 64 and seen[1][:64] == seen[0]
    assert sorted(seen[1][40:]) == numbers[:, 0].tolist()


def planned(folder, plan, cut=None):
    def make(phase):
        return images(40, size=phase.image_size, sampler=data.Shuffled())

    as_another_process(1)
    callbacks = [Cut(cut), ResumeTraining(folder, every_steps=2)]
    try:
        fit_plan(build(accelerated=False), plan, make, callbacks=callbacks, verbose=0)
    except RuntimeError as error:
        assert "cut off" in str(error)


def plan_of(size, rate=0.1):
    return TrainingPlan([Phase(1, 8, 8, (0.05, rate)), Phase(2, size, 8, (rate, 0.0))])


def test_another_size_of_the_epoch_under_way_is_refused_and_rates_are_named(tmp_path, capsys):
    planned(tmp_path, plan_of(10), cut=MIDDLE)
    with pytest.raises(ValueError, match="image_size of the epochs 8 ×1, 10 ×2 → 8 ×1, 12 ×2"):
        planned(tmp_path, plan_of(12))
    planned(tmp_path, plan_of(10, rate=0.2))
    named = "takes up what has changed: learning_rate from epoch 1 on 0.05 to 0.1 → 0.05 to 0.2 "
    assert f"{named}(highest 0.1 → 0.2)." in capsys.readouterr().err


def test_schedules_of_one_class_for_other_epochs_are_told_apart():
    model = build(accelerated=False)
    parts = [
        ParameterSchedule({"learning_rate": constant(rate)}, epochs=range(first, last))
        for rate, first, last in ((0.1, 0, 2), (0.2, 2, 3))
    ]
    found = settings(model, parts, 3, 5)
    words = "0.2, 0.2, 0.2, 0.2, 0.2 at 0, 25, 50, 75, 100 % of epochs 3–3 (highest 0.2)"
    assert found["learning_rate by ParameterSchedule in epochs 3–3"] == words
    assert "learning_rate by ParameterSchedule in epochs 1–2" in found
