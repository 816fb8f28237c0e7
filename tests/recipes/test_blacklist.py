"""ImageNet's validation photos that the devkit lists as ambiguous."""

import dataclasses
from datetime import date

from keras_dawn.data.photos import ImageFolder
from keras_dawn.dawnbench import Entry

import imagenet_resnet50
import pytest
from PIL import Image

from recipe_parts.blacklist import read_blacklist, without_blacklist
from recipe_parts.photo_folder import Photos


@pytest.fixture
def folder(tmp_path):
    """Two classes; 12 validation photos under ImageNet's names."""
    for part in ("train", "val"):
        for number in range(1, 13):
            own = tmp_path / part / f"n0000000{number % 2}"
            own.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(own / f"ILSVRC2012_{part}_{number:08d}.JPEG")
    return tmp_path


def test_photos_of_the_list_are_left_out_of_validation_alone(folder):
    (folder / "list.txt").write_text("3\n12\r\n5\n", encoding="utf-8")
    photos = Photos(folder, imagenet_resnet50.PRESETS["small"], read_blacklist(folder / "list.txt"))
    left = [int(name[-13:-5]) for name in photos.val("originals").names()]
    assert sorted(left) == [1, 2, 4, 6, 7, 8, 9, 10, 11]
    assert len(photos.train("originals")) == 12
    assert [label for _, label in photos.val("originals")] == [number % 2 for number in left]


def test_without_a_list_all_are_evaluated_on(folder):
    assert len(Photos(folder, imagenet_resnet50.PRESETS["small"]).val("originals")) == 12


@pytest.mark.parametrize("text", ["", "0", "50001", "3 x", "-4"])
def test_what_is_no_list_is_refused(text, tmp_path):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"list\.txt (is empty|must have the number)"):
        read_blacklist(tmp_path / "list.txt")


def test_a_list_of_other_photos_is_refused(folder):
    with pytest.raises(
        ValueError,
        match=r"1 photo of the blacklist cannot be found, such as ILSVRC2012_val_00000013",
    ):
        without_blacklist(ImageFolder(folder / "val"), {3, 13})


def test_of_all_validation_photos_the_whole_list_is_left_out():
    class All:
        def __len__(self):
            return 50_000

        def names(self):
            return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]

        def subset(self, places):
            return places

    assert len(without_blacklist(All(), set(range(1, 1763)))) == 48_238
    with pytest.raises(
        ValueError, match="has 1762 of the 50000 validation photos, this list has 9"
    ):
        without_blacklist(All(), set(range(1, 10)))


def test_an_entry_says_whether_they_were_used():
    entry = Entry("a", "b", "c", "d", "e", ("a", "b", "c", "d"), date(2026, 1, 1))
    assert "usedBlacklist" not in entry.as_json()
    for used in (True, False):
        assert dataclasses.replace(entry, used_blacklist=used).as_json()["usedBlacklist"] is used


def test_a_list_that_is_not_there_is_named_with_its_flag(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--blacklist must be .*nowhere\.txt is none"):
        read_blacklist(tmp_path / "nowhere.txt")
