"""Callbacks of the user's without `state_dict`: their attributes go on, or it is said why not."""

import collections
import contextlib
import datetime
import inspect
import pathlib
import signal
import time

from keras_dawn import ResumeTraining
from keras_dawn.resume import plain_attributes
from keras_dawn.resume.attribute_values import decoded, encoded, is_data, mark
from keras_dawn.resume.plain_attributes import PlainAttributes

import keras
import numpy as np
import pytest
import torch

from tests.resume.lives import X, Y, life, same, small_model
from tests.resume.test_resume import Cut
from tests.resume.this_process import ThisProcess

K = keras.callbacks


def data():
    return X, Y


class Noise(K.Callback):
    """Moves the weights by all that it has found out so far, from attributes of every kind."""

    def __init__(self, seen, every=2):
        super().__init__()
        self.every, self.seen, self.random = every, seen, np.random.default_rng(3)
        self.average, self.done, self.best, self.recent = None, 0, {}, collections.deque(maxlen=3)

    def on_train_begin(self, logs=None):
        self.began = time.time()
        self.trained = [torch.zeros(6, 4)]
        self.places = np.zeros(4, np.float32)

    def on_epoch_begin(self, epoch, logs=None):
        self.in_epoch = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.in_epoch += 1
        self.seen.append(self.done)
        kernel = self.model.layers[0].kernel
        self.average = kernel.value.detach().clone() if self.average is None else (
            0.9 * self.average + 0.1 * kernel.value.detach()
        )  # fmt: skip
        self.trained[0].add_(kernel.value.detach())
        self.places += np.float32(self.in_epoch)
        self.recent.append(float(self.random.normal()))
        self.best["most"] = max(self.best.get("most", np.float32(0)), np.float32(self.recent[-1]))
        if self.done % self.every == 0:
            moved = sum(self.recent) + self.places.sum() + self.best["most"] + len(self.seen)
            kernel.assign(0.999 * self.average + 1e-4 * self.trained[0] + 1e-4 * moved)


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("cuts", [(8, 3), (10,), (13,)])
def test_a_callback_without_a_state_goes_on_where_it_was(cuts, accelerated, tmp_path):
    how = {"data": data, "accelerated": accelerated}
    whole_seen = []
    whole = life(tmp_path / "whole", callbacks=[Noise(whole_seen)], **how)
    for cut in (*cuts, None):
        seen = []  # which the script holds too
        callback = Noise(seen)
        ours = life(tmp_path / "cut", callbacks=[callback], cut=cut, **how)
    same(ours, whole)
    assert seen == whole_seen == list(range(1, 21))
    assert time.time() - callback.began < 50 and callback.every == 2


def test_settings_are_those_of_the_script(tmp_path):
    life(tmp_path, data=data, callbacks=[Noise([], every=2)], cut=8)
    again = Noise([], every=3)
    life(tmp_path, data=data, callbacks=[again])
    assert again.every == 3 and again.done == 20


class Writes(K.Callback):
    """Opens what no checkpoint can hold, when the first step is done."""

    def __init__(self):
        super().__init__()
        self.opened, self.file, self.rows = False, None, 0

    def on_train_batch_end(self, batch, logs=None):
        if not self.opened:
            self.file, self.opened = object(), True
        assert self.file is not None
        self.rows += 1


def test_numbers_beside_what_cannot_be_saved_begin_anew_and_it_is_said(tmp_path, capsys):
    life(tmp_path, data=data, callbacks=[Writes()], cut=8)
    said = capsys.readouterr().err
    assert said.count("attributes of Writes would begin anew") == 1 and "file (object)" in said
    again = Writes()
    life(tmp_path, data=data, callbacks=[again])
    assert again.rows == 20 - 7
    said = capsys.readouterr().err
    assert "attributes of Writes begin anew" in said and "file (object)" in said


def test_what_goes_on_is_said_and_a_new_callback_begins(tmp_path, capsys):
    class Counts(K.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1

    life(tmp_path, data=data, callbacks=[Counts()], cut=8)
    first, second = Counts(), Writes()
    life(tmp_path, data=data, callbacks=[first, second])
    assert "attributes of Counts go on: done." in capsys.readouterr().err
    assert first.done == 20 and second.rows == 20 - 7


def test_what_a_class_made_from_kerass_adds_goes_on_beside_what_keras_keeps(tmp_path):
    class Best(K.ModelCheckpoint):
        worse = 0

        def on_epoch_end(self, epoch, logs=None):
            before = self.best
            super().on_epoch_end(epoch, logs)
            self.worse += self.best == before

    def best():
        place = str(tmp_path / "best.weights.h5")
        return Best(place, "loss", save_best_only=True, save_weights_only=True, mode="max")

    whole, cut = best(), best()
    life(tmp_path / "whole", data=data, callbacks=[whole])
    life(tmp_path / "cut", data=data, callbacks=[best()], cut=17)
    life(tmp_path / "cut", data=data, callbacks=[cut])
    assert (cut.worse, cut.best) == (whole.worse, whole.best) and cut.worse > 1


def test_who_wants_to_count_by_itself_says_so(tmp_path):
    class Counts(ThisProcess):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1

    life(tmp_path, data=data, callbacks=[Counts()], cut=8)
    again = Counts()
    life(tmp_path, data=data, callbacks=[again])
    assert again.done == 20 - 7


class Late:
    """A class whose attribute changes late in a training."""

    epochs = 0


def test_callbacks_that_are_given_again_after_an_error_go_on_where_they_were(tmp_path, capsys):
    class Counts(K.Callback):
        def __init__(self):
            super().__init__()
            self.count = self.late = 0

        def on_train_begin(self, logs=None):
            self.file = object()  # one that is opened, such as a logger's

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.late += 1
                Late.epochs += 1
                box["epochs"].append(epoch)

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1

    Late.epochs, box = 0, {"epochs": []}
    callback, model = Counts(), small_model()
    for cut in (12, 1, None):  # the first two in the third epoch, after a checkpoint of the second
        resume = ResumeTraining(tmp_path)
        with contextlib.suppress(RuntimeError):
            model.fit(X, Y, 8, 4, verbose=0, callbacks=[callback, Cut(cut), resume])
    assert callback.count == 20
    # What changed after the checkpoint might as well be set by the script: it is said.
    assert callback.late == Late.epochs == len(box["epochs"]) == 3
    said = capsys.readouterr().err
    assert "or an attempt after the checkpoint, has changed stay so: late" in said
    # It has ended: what is set now is the script's.
    callback.late = Late.epochs = 7
    model.fit(X, Y, 8, 6, verbose=0, callbacks=[callback, ResumeTraining(tmp_path)])
    assert callback.count == 30 and callback.late == Late.epochs == 7


def test_what_is_set_after_ctrl_c_is_the_scripts(tmp_path, capsys):
    class Counts(K.Callback):
        def __init__(self):
            super().__init__()
            self.setting, self.count = 5, 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1
            if self.count == 7 and self.setting == 5:
                signal.raise_signal(signal.SIGINT)

    callback, model = Counts(), small_model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, 8, 4, verbose=0, callbacks=[callback, ResumeTraining(tmp_path)])
    callback.setting = 9
    model.fit(X, Y, 8, 4, verbose=0, callbacks=[callback, ResumeTraining(tmp_path)])
    assert (callback.setting, callback.count) == (9, 20)
    assert "has changed stay so: setting" in capsys.readouterr().err


def test_a_training_in_another_folder_begins_with_what_there_is(tmp_path):
    class Counts(K.Callback):
        count = 0

        def __init__(self, setting):
            super().__init__()
            self.setting = setting

        def on_epoch_begin(self, epoch, logs=None):
            self.count += 1

    def fit(callback, folder, cut=None):
        with contextlib.suppress(RuntimeError):
            model = small_model()
            callbacks = [callback, Cut(cut), ResumeTraining(tmp_path / folder)]
            model.fit(X, Y, 8, 4, verbose=0, callbacks=callbacks)

    callback = Counts(5)
    fit(callback, "one", 3)
    callback.setting, callback.count = 9, 0
    fit(callback, "two", 12)
    plain_attributes._BEGAN.clear()  # another process
    other = Counts(9)
    other.count = 0
    fit(other, "two")
    assert other.count == 4


def test_a_setting_that_is_counted_down_is_the_scripts(tmp_path, capsys):
    class Counts(K.Callback):
        def __init__(self, left):
            super().__init__()
            self.left, self.done, self.began = left, 0, None

        def on_train_begin(self, logs=None):
            self.began = time.time()

        def on_train_batch_end(self, batch, logs=None):
            self.left, self.done, self.began = self.left - 1, self.done + 1, self.began + 1

    life(tmp_path, data=data, callbacks=[Counts(100)], cut=8)
    again, now = Counts(50), time.time()
    life(tmp_path, data=data, callbacks=[again])
    assert (again.done, again.left) == (20, 50 - 13) and again.began >= now + 13
    said = capsys.readouterr().err
    assert "attributes of Counts go on: done." in said
    assert "stay as the script has them: left, began." in said


def test_what_was_as_at_first_and_has_changed_since_is_as_at_first():
    callback = K.Callback()
    callback.waits, callback.kept = [0], "a"
    part = PlainAttributes(callback, set(vars(K.Callback())))
    state = {**part.state_dict(), **part.rank_state_dict()}
    assert state == {"lost": [], "kept": {}, "first": {}}
    held = callback.waits
    callback.waits[0], callback.kept = 5, "b"
    part.load_state_dict(state)
    assert callback.waits is held and held == [0] and callback.kept == "a"


def test_what_was_deleted_is_gone_and_what_has_been_deleted_since_is_back():
    def made():
        callback = K.Callback()
        callback.warm, callback.waits = True, [0]
        return callback, PlainAttributes(callback, set(vars(K.Callback())))

    callback, part = made()
    early = {**part.state_dict(), **part.rank_state_dict()}
    del callback.warm
    late = {**part.state_dict(), **part.rank_state_dict()}
    other, its_part = made()
    its_part.load_state_dict(late)
    assert not hasattr(other, "warm") and other.waits == [0]
    part.load_state_dict(early)  # as where the same process tries again
    assert callback.warm is True


VALUES = [
    True, 3, -0.0, float("nan"), "x", b"\0", None, np.float32(0.1), np.int64(7), np.arange(4.0),
    torch.tensor([1, 2]), torch.ones(2, dtype=torch.bfloat16), [1, (2, [3.5])], {1: {2}, "a": ()},
    collections.deque([1, 2], maxlen=2), {"__array__": [1]}, {(1, np.int64(2)): 3},
    collections.Counter("aab"), collections.OrderedDict(b=1, a=2), frozenset({1, "a"}),
    collections.defaultdict(list, {1: [2]}), pathlib.Path("a/b"), range(1, 9, 2),
    datetime.datetime(2026, 1, 2, 3), datetime.timedelta(1, 2, 3), inspect.Parameter.VAR_KEYWORD,
]  # fmt: skip


def name_of(value):
    """A test's name: the same in every process, in which sets are printed in another order."""
    return str(sorted(value, key=str)) if isinstance(value, (set, frozenset)) else str(value)


@pytest.mark.parametrize("value", VALUES, ids=name_of)
def test_values_come_back_as_what_they_were(value, tmp_path):
    assert is_data(value)
    torch.save(encoded(value), tmp_path / "saved.pt")
    again = decoded(torch.load(tmp_path / "saved.pt", weights_only=True))
    assert type(again) is type(value) and mark(again) == mark(value)
    for name in ("maxlen", "default_factory"):
        assert getattr(again, name, None) == getattr(value, name, None)


def within_itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), [object()], collections.defaultdict(object), {(1, object()): 3}, within_itself(),
     np.array([object()]), list(range(100_001)), lambda: 0],
)  # fmt: skip
def test_what_cannot_be_made_again_as_it_was_is_no_data(value):
    assert not is_data(value) and mark(value) == mark(value)


def test_a_change_within_a_value_is_noticed():
    for value, change in [
        ([1, [2]], lambda v: v[1].append(3)),
        (np.zeros(5), lambda v: v.put(3, 1.0)),
        (torch.zeros(5), lambda v: v[3].fill_(1)),
        (torch.zeros(1).as_strided((1,), (0,)), lambda v: v.fill_(1)),  # of a broadcast one
        (torch.zeros(5, dtype=torch.complex64).conj(), lambda v: v[3].fill_(1)),
        ({"a": 1}, lambda v: v.update(a=1.0)),
        (np.random.default_rng(0), lambda v: v.normal()),
        (torch.Generator(), lambda v: torch.rand(1, generator=v)),
    ]:
        before = mark(value)
        change(value)
        assert mark(value) != before
