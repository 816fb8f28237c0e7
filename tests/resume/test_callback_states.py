"""States of callbacks in checkpoints: whoever has one, it is saved, without asking for it."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.callbacks import LayerStatistics

import keras
import pytest

from tests.resume.lives import X, Y, life
from tests.resume.test_resume import Cut


class Counter(keras.callbacks.Callback):
    """A callback of the user's that counts steps, those of earlier processes included."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@pytest.fixture
def fit(dense_model, points):
    def fit(*callbacks, accelerated=True):
        model = dense_model("sgd")
        if accelerated:
            keras_dawn.accelerate(model)
        model.fit(*points, batch_size=10, epochs=3, callbacks=list(callbacks), verbose=0)

    return fit


@pytest.mark.parametrize("accelerated", [True, False])
def test_a_callback_of_the_users_goes_on_where_it_was(fit, accelerated, tmp_path):
    first, second = Counter(), Counter()
    second.steps = 100
    resume = ResumeTraining(tmp_path, every_steps=1)
    with pytest.raises(RuntimeError, match="cut off"):
        fit(Cut(6), first, second, resume, accelerated=accelerated)
    again = Counter(), Counter()
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append([one.steps for one in again])
    )
    resume = ResumeTraining(tmp_path, every_steps=1)
    fit(*again, resume, look, accelerated=accelerated)
    assert seen[0] == [6, 106]  # each its own, though they are of one class


def test_what_is_tracked_is_saved_once_under_its_name(fit, tmp_path):
    counter, resume = Counter(), ResumeTraining(tmp_path)
    resume.track("mine", counter)
    fit(counter, resume)
    assert set(resume.folder.newest()["parts"]) == {"mine"}


def test_the_place_in_the_list_does_not_matter(fit, tmp_path):
    counter = Counter()
    with pytest.raises(RuntimeError, match="cut off"):
        fit(ResumeTraining(tmp_path, every_steps=1), counter, Cut(6))
    again, resume = Counter(), ResumeTraining(tmp_path, every_steps=1)
    fit(resume, again)
    assert again.steps == 3 * 4 and resume.folder.newest()["parts"] == {"Counter": {"steps": 12}}


def test_callbacks_of_a_list_of_ones_own_are_found(dense_model, points, tmp_path):
    model = dense_model("sgd")
    counter, resume = Counter(), ResumeTraining(tmp_path)
    callbacks = keras.callbacks.CallbackList(
        [counter, resume], add_history=True, model=model, epochs=1, steps=4
    )
    model.fit(*points, batch_size=10, callbacks=callbacks, verbose=0)
    assert set(resume.folder.newest()["parts"]) == {"Counter"}


def test_statistics_of_layers_have_every_row_once(tmp_path):
    def rows(folder, *cuts):
        for cut in (*cuts, None):
            statistics = LayerStatistics(X[:8], Y[:8], every_steps=3)
            life(folder, data=lambda: (X, Y), callbacks=[statistics], cut=cut)
        # Without the layers' names: Keras counts on in a process.
        return [{**row, "layer": number % 2} for number, row in enumerate(statistics.rows)]

    assert rows(tmp_path / "cut", 8, 6) == rows(tmp_path / "whole")
