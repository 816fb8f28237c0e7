"""Checkpoints are data, and what is no whole checkpoint neither wins nor takes others away."""

import contextlib
import errno
import io
import os

import keras_dawn
from keras_dawn.dawnbench import paid_time
from keras_dawn.dawnbench.paid_time import PaidTime
from keras_dawn.foundation.plain_state import from_plain, to_plain
from keras_dawn.resume import checkpoint_file, folder_lock
from keras_dawn.resume.checkpoints import CheckpointFolder

import numpy as np
import pytest
import torch

STATE = {"format": 4, "values": torch.arange(50.0), "more": {"a": [1, (2.5, None)]}}


PLACES = {f"checkpoint-0000{epoch}-0000000.pt": (0, epoch, 0) for epoch in (1, 2, 3)}


def folder(path, *places, keep=2):
    made = CheckpointFolder(path, keep)
    for place in places:
        made.write(place, {**STATE, "place": place})
    return CheckpointFolder(path, keep)


def test_data_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    whole = folder(tmp_path, (0, 1, 0))
    checkpoint_file.write(tmp_path / "checkpoint-00002-0000000.pt", [1, 2])
    with pytest.warns(UserWarning, match="is no checkpoint of this package"):
        assert whole.newest()["place"] == (0, 1, 0)


@pytest.mark.parametrize("part", [b"", [b""], np.float32(1), {1}, [(np.ones(2),)]])
def test_what_could_not_be_read_again_is_not_written(part, tmp_path):
    with pytest.raises(TypeError, match="at state/more"):
        folder(tmp_path).write((0, 1, 0), {**STATE, "more": part})
    assert not list(tmp_path.glob("*.pt"))


def test_new_checkpoints_stay_where_damaged_ones_have_higher_numbers(tmp_path):
    made = folder(tmp_path, (0, 8, 0), (0, 9, 0))
    for path in made.files():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged") as said:
        assert made.newest() is None
    assert "there is no older one" in str(said[-1].message)
    for epoch in (1, 2, 3):
        made.write((0, epoch, 0), STATE)
    names = [path.name[11:16] for path in made.files()]
    assert names == ["00002", "00003", "00008", "00009"]  # damaged ones are not deleted either


def test_the_last_checkpoint_of_every_fit_is_kept(tmp_path):
    made = folder(tmp_path, (0, 1, 0), (0, 2, 0), (1, 1, 3), (1, 2, 0), (2, 1, 0), keep=1)
    assert [path.name for path in made.files()] == [
        "checkpoint-00002-0000000.pt",
        "checkpoint-f001-00002-0000000.pt",
        "checkpoint-f002-00001-0000000.pt",
    ]
    assert made.newest(1)["place"] == (1, 2, 0) and made.newest(3) is None


def test_states_are_plain_data_and_come_back_as_they_were():
    state = {
        "array": np.arange(6, dtype="uint16").reshape(2, 3),
        "words": np.array(["a", "bc"]),
        "number": np.float64(0.1),
        3: (True, None, [torch.ones(2)]),
    }
    buffer = io.BytesIO()
    torch.save(to_plain(state, "it"), buffer)
    buffer.seek(0)
    back = from_plain(torch.load(buffer, weights_only=True))
    assert back["array"].dtype == np.uint16 and np.array_equal(back["array"], state["array"])
    assert list(back["words"]) == ["a", "bc"] and back["number"] == 0.1
    assert back[3][:2] == (True, None) and torch.equal(back[3][2][0], torch.ones(2))
    for value in (
        np.array(3.0), np.float32(0.1), np.bool_(True), np.zeros((0, 2), "U5"),
        np.array(["ab"], "U9"),
        np.arange(3, dtype=">f4"), np.array([[1.5]], "complex64"), np.array([b"a"], "S3"),
    ):  # fmt: skip
        back = from_plain(to_plain(value, "it"))
        assert type(back) is type(value) and (back.dtype, back.shape) == (value.dtype, value.shape)
        assert np.array_equal(back, value)
    for value in (np.zeros(2, np.longdouble), np.longdouble(1)):
        with pytest.raises(TypeError, match="my callback holds a NumPy .* of (float|longdouble)"):
            to_plain(value, "my callback")
    with pytest.raises(TypeError, match="The state of my callback holds a set"):
        to_plain({"seen": {1, 2}}, "my callback")


def test_a_forked_worker_does_not_hold_the_folder(tmp_path):
    folder_lock.take(tmp_path)
    reading, writing = os.pipe()
    born, bears = os.pipe()
    child = os.fork()
    if child == 0:  # lives on after its parent has left the folder
        os.close(writing)
        os.write(bears, b"!")
        os.read(reading, 1)
        os._exit(0)
    os.read(born, 1)
    for each in (reading, born, bears):
        os.close(each)
    folder_lock.leave(tmp_path)
    try:
        folder_lock.take(tmp_path)  # filelock.Timeout, if the child had it
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        folder_lock.leave(tmp_path)


def test_a_folder_that_cannot_be_synced_takes_checkpoints(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert folder(tmp_path, (0, 1, 0)).newest()["place"] == (0, 1, 0)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"seconds": "x"}', '{"seconds": 9.5}', "\0", "[" * 99_999]
)
def test_a_damaged_record_of_paid_time_is_named_and_not_counted(content, tmp_path):
    (tmp_path / "process-0001.json").write_text(content, encoding="utf-8")
    (tmp_path / "process-0002.json").write_bytes(paid_time._content(2.5))
    with pytest.warns(UserWarning, match="process-0001.json is damaged"):
        assert PaidTime(tmp_path).seconds() == 2.5


def test_a_file_that_is_written_is_read_again(tmp_path):
    checkpoint_file.write(tmp_path / "one", STATE)
    assert torch.equal(checkpoint_file.read(tmp_path / "one")["values"], STATE["values"])
    assert keras_dawn.ResumeTraining(tmp_path).next_epoch() == 0


class Failing:
    """A file that fails once so many bytes are written, as on a full disk, or for a signal."""

    def __init__(self, file, room, error):
        self._file, self._room, self._error = file, room, error

    def write(self, content):
        self._room -= len(content)
        if self._room < 0:
            raise self._error
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("room", [1, 500, 9000, 250_000])
def test_what_ends_a_write_is_what_comes_out_of_it(room, error, tmp_path, monkeypatch):
    made = folder(tmp_path, (0, 1, 0))
    real = checkpoint_file.written_whole

    @contextlib.contextmanager
    def written(path, **how):
        with real(path, **how) as file:
            yield Failing(file, room, error)

    monkeypatch.setattr(checkpoint_file, "written_whole", written)
    state = {**STATE, "weights": [torch.zeros(1000) for _ in range(50)], "more": torch.zeros(50000)}
    if isinstance(error, OSError):
        with pytest.warns(UserWarning, match="No space left.* the last one is checkpoint-00001"):
            made.save((0, 2, 0), state)
    else:
        with pytest.raises(KeyboardInterrupt):
            made.save((0, 2, 0), state)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00001-0000000.pt"]


def test_high_numbers_are_found_in_their_order_and_removed(tmp_path):
    places = [(0, 99_999, 0), (0, 100_000, 0), (0, 100_000, 10_000_000)]
    made = folder(tmp_path, *places)
    assert len(made.files()) == 2 and made.newest()["place"] == places[-1]
    made = folder(tmp_path, (999, 1, 0), (1000, 1, 0), (1001, 1, 0), keep=1)
    assert made.newest()["place"] == (1001, 1, 0) and made.newest(1000)["place"] == (1000, 1, 0)


def test_paid_time_of_others_stays_where_a_file_was_deleted(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / f"process-{number:04}.json").write_bytes(paid_time._content(100.0 * number))
    (tmp_path / "process-0001.json").unlink()
    paid = PaidTime(tmp_path)
    paid.begin()
    assert paid.seconds() >= 500 and paid.processes == 3


def test_what_others_left_half_written_in_the_folder_stays(tmp_path):
    ours = [".checkpoint-00002-0000000.pt.partial", ".checkpoint-f001-00002-0000000.pt.partial"]
    ours += [".process-0001.json.partial", "..ranks.partial"]
    others = [".film.mkv.partial", ".checkpoint.partial", ".process-1.json.old.partial"]
    for name in [*ours, *others]:
        (tmp_path / name).touch()
    taken = CheckpointFolder(tmp_path, 2)
    taken.take()
    taken.close()
    left = {path.name for path in tmp_path.iterdir()}
    assert set(others) <= left and not left & set(ours)


def test_a_second_of_a_process_is_paid_once(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(paid_time, "_LIFE", paid_time._Life())
    monkeypatch.setattr(paid_time._LIFE, "counted_until", now)
    monkeypatch.setattr(paid_time.time, "monotonic", lambda: now)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()

    def train(name, seconds):
        nonlocal now
        paid = PaidTime(tmp_path / name)  # another object each time, as in a notebook's cell
        paid.begin()
        now += seconds
        paid.note()
        return paid.processes, paid.seconds()

    now += 5  # loading the data
    assert train("a", 10) == (1, 15)
    assert train("a", 20) == (1, 35)
    now += 7
    assert train("b", 1) == (1, 8)
    assert train("a", 2) == (1, 37)
    (tmp_path / "a" / "process-0001.json").unlink()  # for a training that begins anew
    assert train("a", 3) == (1, 3)
