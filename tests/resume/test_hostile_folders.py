"""Folders of checkpoints that others wrote to: nothing in them runs, nothing whole is lost."""

import functools
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import warnings
import zipfile

from keras_dawn import ResumeTraining
from keras_dawn.dawnbench.paid_time import PaidTime
from keras_dawn.resume import checkpoint_file
from keras_dawn.resume.checkpoints import CheckpointFolder

import numpy as np
import pytest
import torch

from tests.resume.lives import X, Y, life, same


class Runs:
    """Code that a pickle brings along: makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


class RunsByText(Runs):
    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.place)!r})",)


class RunsLater(Runs):
    def __reduce__(self):
        return functools.partial(os.mkdir, str(self.place)), ()


class Module(torch.nn.Module):
    def __init__(self, code):
        super().__init__()
        self.code = code


def saved(content, **how):
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def exchanged(content, code):
    """A torch file whose pickle was exchanged for another one."""
    buffer, found = io.BytesIO(), zipfile.ZipFile(io.BytesIO(saved(content)))
    with zipfile.ZipFile(buffer, "w") as file:
        for name in found.namelist():
            data = pickle.dumps(code, 2) if name.endswith("data.pkl") else found.read(name)
            file.writestr(name, data)
    return buffer.getvalue()


STATE = {"format": 4, "values": torch.arange(9.0), "more": {}}
PICKLES = {
    "alone": lambda code, place: saved(code),
    "within": lambda code, place: saved({**STATE, "values": [code]}),
    "as a key": lambda code, place: saved({**STATE, "more": [(1, code)]}),
    "as the format": lambda code, place: saved({"format": code}),
    "of torch's old kind": lambda code, place: saved(
        {**STATE, "values": code}, _use_new_zipfile_serialization=False
    ),
    "without torch": lambda code, place: pickle.dumps({**STATE, "values": code}, 0),
    "exchanged in a whole file": lambda code, place: exchanged(STATE, code),
    "by text": lambda code, place: saved({**STATE, "values": RunsByText(place)}),
    "in an array of objects": lambda code, place: saved({**STATE, "values": np.array([code])}),
    "in a module": lambda code, place: saved({**STATE, "values": Module(RunsLater(place))}),
}


def trained(folder):
    """A folder that a training has left, with the names and contents of its files."""
    life(folder, data=lambda: (X, Y), epochs=3)
    (folder / ".ranks").write_bytes(b"0123456789abcdef")  # as several ranks leave it
    return {path: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", PICKLES)
def test_a_planted_pickle_runs_nothing_and_is_named(kind, tmp_path):
    checkpoint_file.write(tmp_path / "checkpoint-00001-0000000.pt", {**STATE, "place": 1})
    place = tmp_path / "ran"
    content = PICKLES[kind](Runs(place), place)
    planted = tmp_path / "checkpoint-99999-0000000.pt"
    planted.write_bytes(content + hashlib.sha256(content).digest())
    for name in ("process-0001.json", ".lock", ".ranks", ".checkpoint-00002-0000000.pt.partial"):
        (tmp_path / name).write_bytes(content)
    whole = CheckpointFolder(tmp_path, 2)
    whole.take()
    with pytest.warns(UserWarning, match="checkpoint-99999-0000000.pt is refused"):
        assert whole.newest()["place"] == 1
    with pytest.warns(UserWarning, match="process-0001.json is damaged"):
        assert PaidTime(tmp_path).seconds() == 0
    whole.close()
    assert not place.exists()
    pickle.loads(content) if kind == "without torch" else torch.load(
        io.BytesIO(content), weights_only=False
    )
    assert place.exists()  # it would have run where files are read as programs


def damage(path, draw):
    """Whether the file is another one afterwards."""
    before = path.read_bytes()
    content = bytearray(before)
    place = draw.randrange(max(1, len(content)))
    kind = draw.choice(["flipped", "cut off", "longer", "empty", "zeros", "others", "another's"])
    if kind == "flipped" and content:
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "cut off":
        del content[place:]
    elif kind == "longer":
        content += bytes(draw.randrange(1, 99))
    elif kind == "empty":
        content.clear()
    elif kind == "zeros":
        content[place : place + 999] = bytes(len(content[place : place + 999]))
    elif kind == "others":
        content[place : place + 99] = draw.randbytes(len(content[place : place + 99]))
    elif kind == "another's":
        content = bytearray(json.dumps({"seconds": draw.random()}).encode())
    path.write_bytes(content)
    return bytes(content) != before


def survive(times, folder, seed):
    """Damages files at random, and looks each time at what is left; how many were named."""
    draw = random.Random(seed)
    contents = trained(folder)
    checkpoints = [path for path in contents if path.suffix == ".pt"]
    seconds = PaidTime(folder).seconds()
    states = {path: checkpoint_file.read(path) for path in checkpoints}
    damaged = dict.fromkeys(contents, 0)
    assert len(checkpoints) == 2 and seconds > 0
    for _ in range(times):
        for path, content in contents.items():
            path.write_bytes(content)
        chosen = draw.sample(list(contents), draw.randint(1, len(contents)))
        hurt = [path for path in chosen if damage(path, draw)]
        for path in hurt:
            damaged[path] += 1
        whole = [path for path in checkpoints if path not in hurt]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = CheckpointFolder(folder, 2)
            found.take()
            state, paid = found.newest(), PaidTime(folder).seconds()
            found.close()
        said = " ".join(str(each.message) for each in said)
        place = None if state is None else (state["epoch"], state["step"])
        last = states[whole[-1]] if whole else None
        assert place == (last and (last["epoch"], last["step"]))
        for path in hurt:
            if path.suffix == ".json":
                assert path.name in said and paid == 0
            elif path.suffix == ".pt" and (not whole or path > whole[-1]):
                assert path.name in said  # those before the newest whole one are not looked at
        assert set(folder.iterdir()) == set(contents)  # nothing is deleted
    return damaged


def test_damages_of_any_file_leave_the_newest_whole_one(tmp_path):
    assert min(survive(60, tmp_path, seed=1).values()) > 5


@pytest.mark.slow
def test_two_thousand_damages_leave_the_newest_whole_one(tmp_path):
    damaged = survive(2000, tmp_path, seed=2)
    assert min(damaged.values()) > 300 and sum(damaged.values()) > 2000


def test_a_training_goes_on_from_what_was_left(tmp_path):
    whole = life(tmp_path / "whole", data=lambda: (X, Y))
    life(tmp_path / "cut", data=lambda: (X, Y), cut=13)
    for name in ("process-0001.json", ".lock"):
        (tmp_path / "cut" / name).write_bytes(b"\xff\0")
    newest = ResumeTraining(tmp_path / "cut").folder.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-40])
    shutil.copy(newest, newest.with_name("checkpoint-99999-0000000.pt"))
    with pytest.warns(UserWarning, match="is damaged and passed over"):
        same(life(tmp_path / "cut", data=lambda: (X, Y)), whole)


PLANTED = {
    "the format alone": lambda state: {"format": state["format"]},
    "weights of another kind": lambda state: {**state, "variables": [1, 2, 3, 4]},
    "too few weights": lambda state: {**state, "variables": state["variables"][:-1]},
    "a number as text": lambda state: {**state, "epoch": "99999"},
    "another place": lambda state: state,
    "no ranks": lambda state: {**state, "data": []},
    "half an optimizer": lambda state: {
        **state, "epoch": 99999, "step": 0, "optimizers": [{"variables": []}]
    },
}  # fmt: skip


def test_planted_files_of_the_right_hash_and_pipes_are_passed_over(tmp_path):
    whole = life(tmp_path / "whole", data=lambda: (X, Y))
    life(tmp_path / "cut", data=lambda: (X, Y), cut=5)
    newest = CheckpointFolder(tmp_path / "cut", 2).files()[-1]
    state = checkpoint_file.read(newest)
    for kind, planted in PLANTED.items():
        checkpoint_file.write(newest.with_name("checkpoint-99999-0000000.pt"), planted(state))
        with pytest.warns(UserWarning, match="checkpoint-99999-0000000.pt is refused"):
            found = CheckpointFolder(tmp_path / "cut", 2).newest()
        assert (found["epoch"], found["step"]) == (state["epoch"], state["step"]), kind
    for name in ("checkpoint-99998-0000000.pt", "process-0099.json"):
        os.mkfifo(tmp_path / "cut" / name)
    signal.alarm(60)  # ends the tests, if a pipe is waited for
    with pytest.warns(UserWarning, match="checkpoint-99999-0000000.pt is refused"):
        same(life(tmp_path / "cut", data=lambda: (X, Y)), whole)
    signal.alarm(0)
