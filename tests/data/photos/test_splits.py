"""One set of photos as two."""

from keras_dawn.data.photos import (
    ImageFolder,
    PhotoTable,
    ResizingImages,
    split,
)
from keras_dawn.data.photos.photo_source import PhotoSource
from keras_dawn.data.photos.problems import UnreadablePhotosWarning

import numpy as np
import pytest


def test_a_photo_that_a_table_has_twice_is_in_one_part(train):
    columns = {"path": train.names() * 2, "label": [*train.labels] * 2}
    source = PhotoTable(columns, train.folder)
    for seed in range(5):
        first, second = split(source, 0.5, seed=seed)
        assert len(first) == len(second) == 24
        assert not set(first.names()) & set(second.names())


def test_each_class_is_split_by_the_fraction(train):
    first, second = split(train, 0.25, seed=3)
    assert np.bincount(second.labels).tolist() == [2, 2, 2]
    assert sorted(first.names() + second.names()) == train.names()
    assert split(train, 0.25, seed=3)[1].names() == second.names()
    assert split(train, 0.25, seed=4)[1].names() != second.names()


def test_photos_without_a_label_are_split_by_the_fraction_too(table):
    source = PhotoTable(table, table.parent, path="image", label="tags", separator=";")
    assert (~source.labels.any(1)).sum() == 6
    for seed in range(5):
        _, second = split(source, 0.34, seed=seed)
        assert (~second.labels.any(1)).sum() == 2


def test_groups_stay_together(train):
    def animal(name):
        return int(name.split("/")[1].split(".")[0]) // 2

    first, second = split(train, 0.25, groups=animal)
    assert not {*map(animal, first.names())} & {*map(animal, second.names())}
    assert np.bincount(second.labels).tolist() == [2, 2, 2]
    values = [animal(name) for name in train.names()]
    assert split(train, 0.25, groups=values)[1].names() == second.names()


def test_files_without_a_decoder_are_named_by_one_of_the_parts(photo_folder):
    for number in range(4):
        (photo_folder / "train" / "class0" / f"{number}.CR3").write_bytes(b"")
    source = ImageFolder(photo_folder / "train", most_unreadable=0.2)
    first, second = split(source, 0.25, seed=1)
    assert {**first.skipped, **second.skipped} == source.skipped
    assert [len(part.skipped) for part in (first, second)] == [3, 1]
    data = ResizingImages(first, len(first), image_size=16)
    assert data.problems == first.skipped  # by hand: 3 of 18 + 3
    with pytest.warns(UnreadablePhotosWarning, match="3 of 21 photos"):
        list(data)
    assert first.without(data.problems).skipped == {}


def test_groups_keep_the_classes_fraction_as_nearly_as_whole_groups_allow():
    """Groups of one to four photos, each of one class: no class is off by more than a group."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(150), random.integers(1, 5, 150))
    labels = np.where(groups < 120, 0, 1)  # the rare class has a fifth of the groups

    class Photos(PhotoSource):
        class_names = ("common", "rare")

        def __init__(self):
            self.labels = labels

        def __len__(self):
            return len(labels)

    for seed in range(5):
        first, second = split(Photos(), 0.2, seed=seed, groups=groups)
        assert not {*groups[first.places]} & {*groups[second.places]}
        due, found = 0.2 * np.bincount(labels), np.bincount(second.labels)
        assert np.abs(found - due).max() <= 2
    plain = split(Photos(), 0.2, seed=0, groups=groups, stratified=False)[1]
    assert abs(len(plain) - 0.2 * len(labels)) <= 2


def test_splits_that_cannot_be_made_say_so(train):
    for settings, words in (
        ({"fraction": 1.0}, r"in \(0, 1\)"),
        ({"fraction": 0.5, "groups": [0]}, "a value for each of 24"),
        ({"fraction": 0.3, "groups": [0] * 24}, "without photos"),
    ):
        with pytest.raises(ValueError, match=words):
            split(train, **settings)


def test_a_mask_chooses_the_photos_where_it_is_true(train):
    chosen = train.subset(train.labels == 1)
    assert chosen.names() == [name for name in train.names() if name.startswith("class1/")]
    assert chosen.labels.tolist() == [1] * 8
    assert chosen.subset([-1]).names() == chosen.names()[7:]
    assert len(train.subset([])) == 0
    for places in (chosen.labels == 1, [0.5], [[0, 1]], [24], [-25]):
        with pytest.raises(ValueError, match="below 24, or a mask of 24"):
            train.subset(places)


def test_photos_are_left_out_by_their_names_alone(train):
    assert train.without("class0/0.JPEG").names() == train.names()[1:]
    assert train.without(["class0/0.JPEG", "elsewhere.JPEG"]).names() == train.names()[1:]
    with pytest.raises(ValueError, match="must be strings, .* got .*Path"):
        train.without(train.paths[:2])
