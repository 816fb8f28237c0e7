"""Ordinary data is never refused; what cannot be followed is, by the way to it."""

import collections
import dataclasses
import datetime
import enum
import functools
import itertools
import logging
import pathlib
import queue
import random
import re
import threading
import types

from keras_dawn.foundation.source_state import SourceState

import numpy as np
import pytest
import torch


def source(**own):
    return types.SimpleNamespace(**own)


@dataclasses.dataclass
class Sample:
    path: str
    label: int


class Size(enum.Enum):
    SMALL = 1


def ordinary(folder):
    (folder / "file").write_bytes(b"0123456789")
    np.save(folder / "array.npy", np.arange(10))
    with open(folder / "text", "w", encoding="utf-8") as text:
        text.write("one\ntwo\n")
    return {
        "lock": threading.Lock(),
        "event": threading.Event(),
        "logger": logging.getLogger("data"),
        "mapped": np.load(folder / "array.npy", mmap_mode="r"),
        "path": folder,
        "pattern": re.compile("a"),
        "day": datetime.date(2020, 1, 1),
        "size": Size.SMALL,
        "range": range(5),
        "frozen": frozenset({1}),
        "cached": functools.lru_cache(len),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "samples": [Sample(str(number), number) for number in range(6000)],
        "annotations": {n: {"boxes": [[n, n, n, n]], "area": float(n)} for n in range(300)},
        "labels": {"a": [str(n) for n in range(300)], "b": []},
        "function": ordinary,
        "objects": np.array(["a", None, [1]], dtype=object),
        "strings": np.array(["a", "b"]),
        "times": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "records": np.zeros(2, [("a", "i4"), ("b", "f8")]),
        "sparse": torch.eye(3).to_sparse(),
        "loop": None,
    }


def test_ordinary_things_are_not_refused(tmp_path):
    held = source(**ordinary(tmp_path))
    held.loop = held
    with open(tmp_path / "file", "rb") as file, open(tmp_path / "text", encoding="utf-8") as text:
        held.file, held.text = file, text
        state = SourceState(held)
        state.check()
        assert not state.reads_on
        next(text)  # which no place can be told of while it is read by lines
        assert set(state.now()) == {"file"}
        state.put_back(state.now())


@pytest.mark.parametrize("package", ["h5py", "PIL.Image", "pandas", "torchvision.transforms.v2"])
def test_things_of_well_known_packages_are_not_refused(package, tmp_path):
    module = pytest.importorskip(package)
    made = {
        "h5py": lambda: module.File(tmp_path / "file.h5", "w"),
        "PIL.Image": lambda: module.new("RGB", (2, 2)),
        "pandas": lambda: module.DataFrame({"a": [1, 2], "b": [["x"], ["y"]]}, index=["p", "q"]),
        "torchvision.transforms.v2": lambda: module.Compose(
            [module.RandomCrop(4, padding=1), module.RandomHorizontalFlip(), module.ToImage()]
        ),
    }[package]()
    state = SourceState(source(held=made))
    state.check()
    assert not state.reads_on and state.now() == {}


def test_resources_that_are_opened_late_are_no_state(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    held = source(file=None, lock=None, reader=None)
    state = SourceState(held)
    with open(tmp_path / "file", "rb") as held.file:
        held.lock, held.reader = threading.Lock(), source(path="a", at=0)
        assert state.now() == {}
        held.file.read(3)
        assert state.now() == {}
        held.reader.at = 1
        with pytest.raises(ValueError, match="reader/at in the data changes, and what holds it"):
            state.now()


def test_a_file_goes_on_where_it_was(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    with open(tmp_path / "file", "rb") as file:
        state = SourceState(source(file=file))
        file.read(4)
        now = state.now()
        file.read(4)
        state.put_back(now)
        assert file.read(2) == b"45"


def test_a_cache_is_named_and_left_out():
    image = pytest.importorskip("PIL.Image")
    held = source(cache={}, images=[None] * 300)
    state = SourceState(held)
    held.cache["a"] = held.images[3] = image.new("RGB", (2, 2))
    with pytest.warns(UserWarning, match="images in the data fills with images"):
        assert state.now() == {}


class KeysAsAttributes(dict):
    __getattr__ = dict.__getitem__


class MadeWhenAsked(collections.defaultdict):
    __getattr__ = collections.defaultdict.__getitem__


@pytest.mark.parametrize("kind", [KeysAsAttributes, lambda **own: MadeWhenAsked(list, own)])
def test_settings_whose_attributes_are_keys_are_asked_for_none(kind):
    settings = kind(rate=0.5, seen=[])
    held = source(settings=settings, many=[settings, torch.ones(1), *range(100)])
    state = SourceState(held)
    settings["rate"], before = 0.25, dict(settings)
    saved = state.now()
    settings["rate"] = 1.0
    state.put_back(saved)
    assert settings == {"rate": 0.25, "seen": []} and set(before) == set(settings)


def test_what_cannot_be_followed_is_named():
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait, daemon=True)
    thread.start()
    stateful = [source(own=random.Random(number)) for number in range(6000)]
    others = {"many": stateful, "chance": random.SystemRandom()}
    for name, value in {"ahead": queue.Queue(), "worker": thread, **others}.items():
        state = SourceState(source(inner={"part": [source(**{name: value})]}))
        with pytest.raises(ValueError, match=f"cannot follow inner/part/0/{name} in the data"):
            state.check()
    waiting.set()
    thread.join()


def test_another_object_in_the_place_of_one_is_refused():
    held = source(transform=Sample("a", 1), function=len)
    state = SourceState(held)
    held.transform = pathlib.PurePath("a")
    held.transform = source(path="b")
    with pytest.raises(ValueError, match="transform in the data is another SimpleNamespace"):
        state.now()


def test_known_objects_may_change_places():
    def made():
        one, other = source(count=0), source(count=0)
        return source(active=one, bank=[one, other], spare=None)

    held = made()
    state = SourceState(held)
    held.active.count += 1
    held.active, held.spare = held.bank[1], held.bank[0]
    held.active.count += 5
    now = state.now()
    held = made()
    SourceState(held).put_back(now)
    assert held.active is held.bank[1] and held.spare is held.bank[0]
    assert [part.count for part in held.bank] == [1, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda held: random.Random(1).shuffle(held.names),
        lambda held: held.names.sort(reverse=True),
        lambda held: held.names.__delitem__(slice(0, 2990)),
        lambda held: held.names.append("new"),
        lambda held: held.table.update(new=1, k5=0),
        lambda held: held.table.pop("k7"),
        lambda held: held.small.pop("a"),
        lambda held: held.small.update(b={"c": np.arange(3)}),
        lambda held: setattr(held, "kinds", {1, 9, 4}),
        lambda held: setattr(held, "words", held.words[::-1].copy()),
        lambda held: held.times.__setitem__(0, np.datetime64("2021-01-01")),
        lambda held: held.objects.__setitem__(0, "z"),
        lambda held: delattr(held, "words"),
        lambda held: setattr(held, "late", [1, {2: (3, None)}]),
        lambda held: setattr(held, "none", np.random.default_rng(3)),
        lambda held: setattr(held, "words", None),
        lambda held: setattr(held, "names", None),
        lambda held: held.big.__setitem__(1, 7),
    ],
)
def test_changes_of_every_kind_come_back(change):
    def made():
        return source(
            names=[f"n{number:05}" for number in range(3000)],
            table={f"k{number}": number for number in range(300)},
            small={"a": 1, "b": 2.0},
            kinds={1, 2},
            words=np.array(["a", "bc", "d"]),
            times=np.array(["2020-01-01"], dtype="datetime64[D]"),
            objects=np.array(["a", None], dtype=object),
            none=None,
            big=np.zeros(1_000_000),
        )

    def told(held):
        return {
            name: (type(value), repr(value.bit_generator.state))
            if isinstance(value, np.random.Generator)
            else (type(value), repr(list(value) if isinstance(value, np.ndarray) else value))
            for name, value in sorted(vars(held).items())
            if name != "big"
        } | {"big": held.big.tobytes()}  # fmt: skip

    held = made()
    state, first = SourceState(held), told(held)
    at_first = state.now()
    change(held)
    later, now = told(held), state.now()
    assert later != first and now
    other = made()
    if "names" in now:  # of strings, another order to begin with is no harm
        random.Random(5).shuffle(other.names)
    SourceState(other).put_back(now)
    assert told(other) == later
    state.put_back(at_first)
    assert told(held) == first


def test_a_long_list_is_saved_as_places_and_once():
    held = source(paths=[f"/data/{number}.jpeg" for number in range(10_000)])
    state = SourceState(held)
    random.Random(0).shuffle(held.paths)
    one, other = state.now()["paths"][1], state.now()["paths"][1]
    assert one is other and one["places"].dtype == torch.int32 and "values" not in one


def test_iterators_of_ones_own_and_of_python_read_on():
    for iterator in (itertools.count(), iter([1]), (n for n in [1])):
        assert SourceState(source(inner=source(it=iterator))).reads_on
