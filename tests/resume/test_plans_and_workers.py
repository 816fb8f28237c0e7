"""Plans whose data has workers, validation by workers, and fits that have just begun."""

from keras_dawn import Phase, ResumeTraining, TrainingPlan, fit_plan
from keras_dawn.callbacks import (
    ExponentialMovingAverage,
    Lookahead,
    Snapshots,
    StochasticWeightAveraging,
)
from keras_dawn.resume.loader_workers import of_phase, start_workers_anew

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from tests.resume.lives import X, Y, ends_the_same, same, small_model
from tests.resume.test_data_positions import ROWS, Batches, Transformed
from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

PLAN = TrainingPlan([Phase(2, 8, 8, (0.05, 0.1)), Phase(2, 10, 10, (0.1, 0.0))])


def plan_life(folder, make, cut=None):
    as_another_process(seed=1)
    model = small_model()
    callbacks = [Cut(cut), ResumeTraining(folder, every_steps=2)]
    try:
        fit_plan(model, PLAN, make, callbacks=callbacks, verbose=0)
    except RuntimeError as error:
        assert "cut off" in str(error)
    return model


def loader_of(rows, batch_size=8, **settings):
    return DataLoader(rows, batch_size, num_workers=2, **settings)


class FourBatches(Batches):
    def __len__(self):
        return 4


PHASES = {
    "PyDataset with workers": lambda phase: (Batches if phase.batch_size == 8 else FourBatches)(
        "another array", workers=2
    ),
    "workers that live on": lambda phase: loader_of(
        Transformed(), phase.batch_size, shuffle=True, persistent_workers=True
    ),
}


@pytest.mark.parametrize(
    "kind", ["PyDataset with workers", pytest.param("workers that live on", marks=pytest.mark.slow)]
)
def test_a_plan_goes_on_whatever_fetches_its_data(kind, tmp_path, capsys):
    whole = plan_life(tmp_path / "whole", PHASES[kind])
    for cut in (8, 7, None):
        ended = plan_life(tmp_path / "cut", PHASES[kind], cut)
    same(ended, whole)
    assert "goes on at epoch 4, step 1 of 4." in capsys.readouterr().err


class Named(DataLoader):
    """A loader that keeps its rows under the name that a plan has for its phase's data."""

    data = torch.tensor(X)


def test_workers_of_a_loader_that_has_data_are_started_anew():
    loader = Named(ROWS, 8, num_workers=1, persistent_workers=True)
    assert of_phase(loader) is loader
    first = iter(loader)
    start_workers_anew(loader)
    assert iter(loader) is not first


class ReadsOn(IterableDataset):
    """Holds an iterator, as one that reads a file or a socket does."""

    def __init__(self):
        self.batches = (row for row in [*zip(X, Y, strict=True)] * 9)

    def __len__(self):
        return 40

    def __iter__(self):
        return (next(self.batches) for _ in range(40))


def test_a_plan_with_data_that_only_reads_on_is_refused_when_it_begins(tmp_path):
    with pytest.raises(ValueError, match="it holds an iterator, which only reads on"):
        plan_life(tmp_path, lambda phase: DataLoader(ReadsOn(), phase.batch_size))
    assert not list(tmp_path.glob("*.pt"))


class OtherRows(IterableDataset):
    """Gives rows that nobody can foresee."""

    def __len__(self):
        return 40

    def __iter__(self):
        other = float(np.random.default_rng().normal())
        return ((torch.tensor(x) + other, int(y)) for x, y in zip(X, Y, strict=True))


def test_a_plan_with_data_that_gives_other_batches_is_refused_when_it_goes_on(tmp_path):
    def make(phase):
        return DataLoader(OtherRows(), phase.batch_size)

    plan_life(tmp_path, make, cut=4)
    with pytest.raises(ValueError, match="does not give the batches again"):
        plan_life(tmp_path, make)


@pytest.mark.slow
def test_validation_by_workers_that_live_on_draws_the_same_numbers(tmp_path):
    rows = [(x + 0.1, y) for x, y in ROWS]
    ends_the_same(
        tmp_path,
        cuts=(8, 7),
        data=lambda: (loader_of(Transformed(), shuffle=True), None),
        validation_data=loader_of(rows, persistent_workers=True),
    )


KEPT = {
    "EMA": lambda: ExponentialMovingAverage(0.9),
    "SWA": lambda: StochasticWeightAveraging(X, start=0.5),
    "Lookahead": lambda: Lookahead(3),
    "Snapshots": lambda: Snapshots([0.5, 1.0]),
}


SLOW = ("SWA", "Lookahead")  # the same as EMA in this


@pytest.mark.parametrize(
    "which", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in KEPT]
)
def test_two_fits_that_are_saved_before_their_first_epoch_go_on(which, tmp_path):
    """As `CSVLogger(append=True)` asks for."""

    def life(folder, cuts=(None, None)):
        as_another_process(seed=1)
        model, resume, kept = small_model(), ResumeTraining(folder, every_steps=4), KEPT[which]()
        for cut in cuts:
            log = keras.callbacks.CSVLogger(f"{folder}.csv", append=True)
            try:
                callbacks = [Cut(cut), kept, log, resume]
                model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=callbacks)
            except RuntimeError as error:
                assert "cut off" in str(error)
                log.on_train_end()  # closes its file
                return None
        return model, getattr(kept, "weights", None)

    model, snapshots = life(tmp_path / "whole")
    life(tmp_path / "cut", (2,))
    life(tmp_path / "cut", (None, 2))
    ended, others = life(tmp_path / "cut")
    same(ended, model)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    if snapshots is not None:
        for ours, theirs in zip(others, snapshots, strict=True):
            assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_a_log_that_the_second_fit_begins_anew_has_its_header(tmp_path):
    def life(folder, cut=None):
        as_another_process(seed=1)
        model, resume = small_model(), ResumeTraining(folder)
        log = keras.callbacks.CSVLogger(f"{folder}.csv", separator=";")
        try:
            for own in (None, cut):
                model.fit(X, Y, 8, epochs=2, verbose=0, callbacks=[Cut(own), log, resume])
        except RuntimeError as error:
            assert "cut off" in str(error)
            log.on_train_end()  # closes its file

    life(tmp_path / "whole")
    for cut in (2, 7, None):  # before the second one's first checkpoint, and after it
        life(tmp_path / "cut", cut)
        if cut == 2:
            assert (tmp_path / "cut.csv").read_bytes() == b""
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
