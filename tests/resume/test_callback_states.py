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


def own_parts(resume):
    """The parts of a checkpoint, but for the settings of Keras's layers and the like."""
    parts = resume.folder.newest()["parts"]
    return {name for name in parts if not name.startswith("settings of")}


def test_what_is_tracked_is_saved_once_under_its_name(fit, tmp_path):
    counter, resume = Counter(), ResumeTraining(tmp_path)
    resume.track("mine", counter)
    fit(counter, resume)
    assert own_parts(resume) == {"mine", "attributes of model"}


def test_the_place_in_the_list_does_not_matter(fit, tmp_path):
    counter = Counter()
    with pytest.raises(RuntimeError, match="cut off"):
        fit(ResumeTraining(tmp_path, every_steps=1), counter, Cut(6))
    again, resume = Counter(), ResumeTraining(tmp_path, every_steps=1)
    fit(resume, again)
    assert again.steps == 3 * 4
    assert resume.folder.newest()["parts"]["Counter"] == {"steps": 12}


def test_callbacks_of_a_list_of_ones_own_are_found(dense_model, points, tmp_path):
    model = dense_model("sgd")
    counter, resume = Counter(), ResumeTraining(tmp_path)
    callbacks = keras.callbacks.CallbackList(
        [counter, resume], add_history=True, model=model, epochs=1, steps=4
    )
    model.fit(*points, batch_size=10, callbacks=callbacks, verbose=0)
    assert own_parts(resume) == {"Counter", "attributes of model"}


def test_statistics_of_layers_have_every_row_once(tmp_path):
    def rows(folder, *cuts):
        for cut in (*cuts, None):
            statistics = LayerStatistics(X[:8], Y[:8], every_steps=3)
            life(folder, data=lambda: (X, Y), callbacks=[statistics], cut=cut)
        # Without the layers' names: Keras counts on in a process.
        return [{**row, "layer": number % 2} for number, row in enumerate(statistics.rows)]

    assert rows(tmp_path / "cut", 8, 6) == rows(tmp_path / "whole")


class Told(Counter):
    """Has a state that is no dict, and settings."""

    def __init__(self, monitor=None, folder=None):
        super().__init__()
        self.monitor, self.folder = monitor, folder

    def state_dict(self):
        return [self.steps, self.monitor]

    def load_state_dict(self, state):
        self.steps, self.told = state


def cut_and_go_on(fit, folder, first, second):
    with pytest.raises(RuntimeError, match="cut off"):
        fit(Cut(6), *first, ResumeTraining(folder, every_steps=1))
    fit(*second, ResumeTraining(folder, every_steps=1))


def test_a_state_may_be_a_list(fit, tmp_path):
    again = Told()
    cut_and_go_on(fit, tmp_path, [Told()], [again])
    assert again.steps == 3 * 4


def test_a_state_that_cannot_be_saved_is_refused_when_the_training_begins(fit, tmp_path):
    first, second = Told(monitor=object()), Told()
    second.rank_state_dict = dict
    with pytest.raises(TypeError, match="state of Told holds a object"):
        fit(first, ResumeTraining(tmp_path))
    with pytest.raises(TypeError, match="of Told must return dicts.* got list and dict"):
        fit(second, ResumeTraining(tmp_path))
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([("a",), ("b",)], [("b",), ("a",)], "ba"),
        ([("a", "x/1"), ("a", "x/2")], [("a", "y/2"), ("a", "y/1")], (1, 0)),
        ([("a", 3), ("a", 5)], [("a", 7), ("a", 3)], (1, 0)),
        ([("a",), ("a",)], [("a",), ("a",)], (0, 1)),
        ([("a",), ("b",)], [("b",)], "b"),
    ],
)
def test_callbacks_of_one_class_are_known_by_their_settings(before, after, told, fit, tmp_path):
    first, again = ([Told(*settings) for settings in each] for each in (before, after))
    for number, callback in enumerate(first):
        callback.steps = 100 * number
    cut_and_go_on(fit, tmp_path, first, again)
    steps = {"a": 12, "b": 112, 0: 12, 1: 112}
    assert [each.steps for each in again] == [steps[each] for each in told]


def test_attributes_of_exchanged_callbacks_go_with_them(fit, tmp_path):
    class Counts(keras.callbacks.Callback):
        def __init__(self, name, done):
            super().__init__()
            self.name, self.done, self.inner = name, None, [done]

        def on_train_batch_end(self, batch, logs=None):
            self.inner[0] += 1

    again = Counts("b", 0), Counts("a", 0)
    for callback in again:
        callback.inner[0] = {"a": 0, "b": 100}[callback.name]
    cut_and_go_on(fit, tmp_path, [Counts("a", 0), Counts("b", 100)], again)
    assert [each.inner for each in again] == [[112], [12]]


def test_what_a_class_made_from_one_with_a_state_adds_goes_on(fit, tmp_path):
    class Mine(keras_dawn.callbacks.ExponentialMovingAverage):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            self.done += 1

    again = Mine(0.9)
    cut_and_go_on(fit, tmp_path, [Mine(0.9)], [again])
    assert again.done == 3 * 4


def test_objects_that_are_not_looked_into_are_named_when_the_training_begins(fit, tmp_path, capsys):
    class Holds(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.names, self.rows, self.log = (n for n in "abc"), Counter, open

    fit(Holds(), ResumeTraining(tmp_path))
    said = capsys.readouterr().err
    assert said.count("does not hold what changes within") == 1
    assert "(attributes of Holds: names (generator))" in said
