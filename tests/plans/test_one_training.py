"""To every callback a plan is one training, whatever its phases are made of."""

import csv

import keras_dawn
from keras_dawn import Phase, ResumeTraining, TimeToAccuracy, TrainingPlan, data, fit_plan
from keras_dawn.callbacks import Lookahead, Snapshots
from keras_dawn.plans.plan_data import PlanData

import keras
import numpy as np
import pytest
import torch

from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

K = keras.callbacks
Y = np.arange(40) % 3
PLAN = TrainingPlan(
    [Phase(2, 8, 8, (0.05, 0.2)), Phase(2, 12, 5, (0.2, 0.1)), Phase(1, 12, 10, (0.1, 0.0))]
)
STEPS = [5, 5, 8, 8, 4]


def pixels(size, count=40):
    random = np.random.default_rng(size)
    return random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def build(accelerated=True):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model) if accelerated else model


class Batches(keras.utils.PyDataset):
    """Shuffles itself."""

    def __init__(self, phase):
        super().__init__()
        self.phase, self.places = phase, np.arange(40)
        self.images = pixels(phase.image_size).astype("float32") / 255

    def __len__(self):
        return 40 // self.phase.batch_size

    def __getitem__(self, number):
        size = self.phase.batch_size
        places = self.places[size * number : size * number + size]
        return self.images[places], Y[places]

    def on_epoch_end(self):
        np.random.shuffle(self.places)


def images(phase):
    return data.DeviceImages(pixels(phase.image_size), Y, phase.batch_size, sampler=data.Shuffled())


def loader(phase):
    rows = torch.utils.data.TensorDataset(
        torch.tensor(pixels(phase.image_size)) / 255, torch.tensor(Y)
    )
    generator = torch.Generator().manual_seed(phase.image_size)
    return torch.utils.data.DataLoader(rows, phase.batch_size, shuffle=True, generator=generator)


def arrays(phase):
    return pixels(phase.image_size).astype("float32") / 255, Y


KINDS = [images, loader, arrays, Batches]


def validation(phase):
    return data.DeviceImages(pixels(phase.evaluated_at, 16), Y[:16], 8)


class Watch(K.Callback):
    """Notes what a callback is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_train_begin(self, logs=None):
        self.told.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append((epoch, self.params["epochs"], self.params["steps"]))
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        assert self.steps == self.params["steps"]

    def on_train_end(self, logs=None):
        self.told.append("end")


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("make", KINDS)
def test_a_plan_begins_and_ends_once_and_counts_its_epochs_through(make, accelerated):
    watch = Watch()
    history = fit_plan(
        build(accelerated), PLAN, make, validation_data=validation, callbacks=[watch], verbose=0
    )
    epochs = [(epoch, 5, steps) for epoch, steps in enumerate(STEPS)]
    assert watch.told == ["begin", *epochs, "end"]
    assert history.epoch == [0, 1, 2, 3, 4]
    assert history.history["image_size"] == history.history["val_size"] == [8, 8, 12, 12, 12]


def test_rows_times_and_patience_are_those_of_one_training(tmp_path):
    class Worse(K.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["score"] = float(epoch)

    place = tmp_path / "log.csv"
    history = fit_plan(
        build(),
        PLAN,
        images,
        validation_data=validation,
        callbacks=[
            TimeToAccuracy(99.0),
            Worse(),
            K.EarlyStopping("score", mode="min", patience=3),
            K.CSVLogger(str(place)),
        ],
        verbose=0,
    )
    with place.open(encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)][1:] == ["0", "1", "2", "3"]
    assert history.epoch == [0, 1, 2, 3] and len(history.history["training_seconds"]) == 4


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("make", KINDS)
def test_a_plan_goes_on_where_it_was_whatever_its_data(make, accelerated, tmp_path):
    def run(folder, cut=None, seed=1):
        as_another_process(seed)
        model, resume = build(accelerated), ResumeTraining(folder, every_steps=3)
        callbacks = [resume, Cut(cut)]
        try:
            fit_plan(model, PLAN, make, validation_data=validation, callbacks=callbacks, verbose=0)
        except RuntimeError:
            assert cut is not None
        return model

    whole = run(tmp_path / "whole")
    for cut in (9, 6, 11):
        run(tmp_path / "cut", cut)
    ours = run(tmp_path / "cut", seed=5)
    again = run(tmp_path / "cut", seed=7)  # complete: not trained again
    for model in (ours, again):
        assert model.history.history == whole.history.history
        for a, b in zip(model.variables, whole.variables, strict=True):
            assert torch.equal(a.value, b.value)


def test_a_restart_counts_the_steps_of_its_own_phase_and_makes_no_data_that_it_does_not_need(
    tmp_path, capsys
):
    def run(cut=None):
        made = []

        def make(phase):
            made.append(PLAN.phases.index(phase))
            return arrays(phase)

        as_another_process(1)
        callbacks = [ResumeTraining(tmp_path, every_steps=3), Cut(cut)]
        try:
            fit_plan(build(False), PLAN, make, callbacks=callbacks, verbose=0)
        except RuntimeError:
            assert cut is not None
        return made, capsys.readouterr().err

    run(14)
    made, said = run(5)
    assert "goes on at epoch 3, step 4 of 8." in said and made == [0, 1]
    made, said = run()
    assert "goes on at epoch 4, step 1 of 8." in said and made == [0, 1, 2]
    made, said = run()
    assert "already complete" in said and made == [0]


def test_a_state_that_is_put_back_before_the_last_batch_does_not_undo_the_end_of_the_pass():
    made = PlanData(PLAN, arrays, id, training=True)
    made.set_epoch(0)
    batches = iter(made)
    for _ in range(STEPS[0] - 1):
        next(batches)
    before = made.state_dict()
    made.load_state_dict(before)
    assert len(list(batches)) == 1
    assert made.state_dict()["data"][""]["epoch"] == before["data"][""]["epoch"] + 1


def test_a_list_of_phases_a_name_and_arrays_are_taken():
    made = fit_plan(
        build(), [Phase(1, 8, 8, 0.1), Phase(1, 8, 20, 0.1)], arrays(PLAN.phases[0]), verbose=0
    )
    assert made.epoch == [0, 1]

    stop = K.LambdaCallback(on_epoch_end=lambda e, logs: setattr(model, "stop_training", True))
    model = build()
    assert fit_plan(model, "fastai_8gpu", images, callbacks=stop, verbose=0).epoch == [0]


@pytest.mark.parametrize(
    ("plan", "train", "said"),
    [
        ("fastai", images, "There is no plan 'fastai'; PLANS has"),
        (3, images, "must be a TrainingPlan, a list of Phase or the name"),
        (PLAN, arrays(PLAN.phases[0]), "It is arrays of 8 × 8 px, and the plan has phases of"),
        (PLAN, images(PLAN.phases[0]), "must be a callable from a Phase.*got a DeviceImages"),
        (PLAN, lambda phase: iter([]), "is a list_iterator: expected a torch DataLoader"),
    ],
)
def test_what_does_not_fit_is_told_what_is_wanted(plan, train, said):
    with pytest.raises(ValueError, match=said):
        fit_plan(build(), plan, train, verbose=0)


@pytest.mark.parametrize("rival", [K.LearningRateScheduler(lambda e: 0.1), K.ReduceLROnPlateau()])
def test_a_second_setter_of_the_rate_is_refused(rival):
    with pytest.raises(ValueError, match=f"leave {type(rival).__name__} out"):
        fit_plan(build(), PLAN, images, callbacks=[rival])


def test_steps_are_counted_through_phases_of_different_lengths():
    lookahead, snapshots = Lookahead(4), Snapshots([0.5, 1.0])
    seen = {"lookahead": [], "snapshots": []}

    class Count(K.Callback):
        step = 0

        def on_train_batch_end(self, batch, logs=None):
            self.step += 1
            for name, count in (
                ("lookahead", lookahead.updates),
                ("snapshots", len(snapshots.weights)),
            ):
                if count > len(seen[name]):
                    seen[name].append(self.step)

    fit_plan(build(), PLAN, images, callbacks=[lookahead, snapshots, Count()], verbose=0)
    assert seen["lookahead"] == list(range(4, sum(STEPS) + 1, 4))
    assert seen["snapshots"] == [14, 30]  # half of the third of five epochs, and the end


@pytest.mark.parametrize("own", [{}, {"momentum": 0.6, "weight_decay": 2e-3}])
def test_a_plan_that_sets_the_rate_alone_leaves_momentum_and_decay_as_compiled(own):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append((self.model.optimizer.momentum, self.model.optimizer.weight_decay))

    model = build()
    optimizer = keras_dawn.SGD(0.1, momentum=0.5, weight_decay=7e-3)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = [Phase(1, 8, 8, (0.1, 0.0), **own)]
    keras_dawn.fit_plan(model, plan, arrays(Phase(1, 8, 8, 0.1)), callbacks=[Look()], verbose=0)
    expected = (own.get("momentum", 0.5), own.get("weight_decay", 7e-3))
    assert seen and all(pair == pytest.approx(expected) for pair in seen)


def test_no_callbacks_may_be_said_by_none():
    assert fit_plan(build(), [Phase(1, 8, 8, 0.1)], images, callbacks=None, verbose=0).epoch


def test_data_made_of_random_numbers_is_made_of_the_same_ones_again(tmp_path):
    def some(phase):
        chosen = np.random.permutation(40)[:30]
        torch.rand(3)
        return pixels(phase.image_size)[chosen].astype("float32") / 255, Y[chosen]

    def run(folder, cut=None, seed=1):
        keras.utils.set_random_seed(seed)
        model, resume = build(), ResumeTraining(folder, every_steps=1)
        try:
            fit_plan(model, PLAN, some, callbacks=[resume, Cut(cut)], verbose=0)
        except RuntimeError:
            assert cut is not None
        return model

    whole = run(tmp_path / "whole")
    # Within a phase's first epoch, within its second one, between two phases.
    for cut, seed in [(2, 1), (4, 2), (6, 3), (9, 4), (None, 5)]:
        ours = run(tmp_path / "cut", cut, seed)
    assert ours.history.history == whole.history.history
    for a, b in zip(ours.variables, whole.variables, strict=True):
        assert torch.equal(a.value, b.value)
