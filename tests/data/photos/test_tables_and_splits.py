import keras_dawn
from keras_dawn.data import Balanced, Grayscale, MixUp, Normalize, OneHot
from keras_dawn.data.photos import (
    ImageFolder,
    PhotoTable,
    ResizingImages,
    UnreadablePhotoError,
    ValidationImages,
    prepare,
    split,
)
from keras_dawn.data.photos.photo_source import PhotoSource
from keras_dawn.data.photos.problems import UnreadablePhotosWarning

import keras
import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def table(photo_folder, train):
    """A CSV file with a number, a word and tags for each photo."""
    lines = ["image,number,word,tags"]
    for index, name in enumerate(train.names()):
        tags = ["red", "red;blue", "", "green"][index % 4]
        lines.append(f"train/{name},{[2, 10, 1][index % 3]},{'cba'[index % 3]},{tags}")
    path = photo_folder / "labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_labels_come_from_a_column(table, train):
    words = PhotoTable(table, table.parent, path="image", label="word")
    assert words.class_names == ("a", "b", "c") and words.labels[:4].tolist() == [2, 1, 0, 2]
    assert words[5] == (train[5][0], 0) and words.name(5) == f"train/{train.name(5)}"
    numbers = PhotoTable(table, table.parent, path="image", label="number")
    assert numbers.class_names == ("1", "2", "10") and numbers.labels[:3].tolist() == [1, 2, 0]
    names = ("c", "b", "a", "unseen")
    given = PhotoTable(table, table.parent, path="image", label="word", class_names=names)
    assert given.class_names == names and given.labels[:3].tolist() == [0, 1, 2]


def test_classes_that_are_numbers_have_one_order():
    """Not that of a set, which is another one in every process."""
    given = ["10", "-1", "2", "01", "1", "001", "0"]
    columns = {"path": ["x.jpg"] * 7, "label": given}
    found = PhotoTable(columns, ".", most_unreadable=1.0).class_names
    assert found == ("-1", "0", "001", "01", "1", "2", "10")


def test_numbers_that_a_data_frame_has_made_floats_are_whole_with_a_separator_too():
    columns = {"path": ["x.jpg"] * 3, "label": [3.0, float("nan"), 4.0]}
    found = PhotoTable(columns, ".", separator=" ", most_unreadable=1.0)
    assert found.class_names == ("3", "4")


def test_photos_may_have_several_labels(table):
    expected = [[0, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
    source = PhotoTable(table, table.parent, path="image", label="tags", separator=";")
    assert source.class_names == ("blue", "green", "red")
    assert source.labels[:4].tolist() == expected
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(table)
    frame["lists"] = [[t for t in str(tags).split(";") if t != "nan"] for tags in frame["tags"]]
    lists = PhotoTable(frame, table.parent, path="image", label="lists")
    assert np.array_equal(lists.labels, source.labels)
    marks = {"image": frame["image"], **dict(zip(source.class_names, source.labels.T, strict=True))}
    columns = PhotoTable(marks, table.parent, path="image", label=["blue", "green", "red"])
    assert np.array_equal(columns.labels, source.labels)


@pytest.mark.parametrize("mixing", [[], [MixUp(0.4)]])
def test_a_model_of_several_labels_is_trained_and_evaluated(table, mixing):
    source = PhotoTable(table, table.parent, path="image", label="tags", separator=";")
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["binary_accuracy"])
    keras_dawn.accelerate(model)
    data = ResizingImages(source, 8, image_size=16, transforms=mixing)
    _, labels = next(iter(data))
    assert labels.dtype == torch.float32 and labels.shape == (8, 3)
    model.fit(data, shuffle=False, verbose=0)
    val = ValidationImages(source, 10, image_size=16)
    found = model.evaluate(val, verbose=0)
    batches = [(x, y) for x, y in val]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(y, torch.from_numpy(source.labels))
    assert found == pytest.approx(model.evaluate(x.numpy(), y.numpy(), verbose=0), rel=1e-5)
    with pytest.raises(ValueError, match="a column a class"):
        ResizingImages(source, 8, image_size=16, transforms=[OneHot(3)])
    with pytest.raises(ValueError, match="one label a photo"):
        prepare(source, table.parent / "copies", 32)


def test_bad_tables_say_what_is_wrong(table):
    def read(**settings):
        return PhotoTable(table, table.parent, **{"path": "image", "label": "word", **settings})

    with pytest.raises(ValueError, match="no column 'label'; it has image, number, word, tags"):
        read(label="label")
    with pytest.raises(ValueError, match="train/class0/2.JPEG has no label"):
        read(label="tags")
    with pytest.raises(ValueError, match="the label 'a', which is none of the classes"):
        read(class_names=("b", "c"))
    with pytest.raises(ValueError, match="each name once, but has b several times"):
        read(class_names=("a", "b", "c", "b"))
    with pytest.raises(ValueError, match="must hold 0 and 1"):
        read(label=["number"])
    (table.parent / "train" / "class0" / "3.JPEG").unlink()
    assert read().skipped == {"train/class0/3.JPEG": "not there"} and len(read()) == 23
    with pytest.raises(UnreadablePhotoError, match="24 of 24 files"):
        PhotoTable(table, table.parent / "train", path="image", label="word")


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
        (photo_folder / "train" / "class0" / f"{number}.HEIC").write_bytes(b"")
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


def test_images_need_not_be_square(train):
    data = ResizingImages(train, 8, image_size={0: (16, 24), 1: 32})
    assert [tuple(next(iter(data))[0].shape[1:3]) for e in (0, 1) if not data.set_epoch(e)] == [
        (16, 24), (32, 32)
    ]  # fmt: skip
    images, _ = next(iter(ValidationImages(train, 8, image_size=(24, 16))))
    assert images.shape == (8, 24, 16, 3)
    with pytest.raises(ValueError, match="or \\(height, width\\)"):
        ResizingImages(train, 8, image_size=(16, 24, 3))
    with pytest.raises(ValueError, match="short side"):
        ValidationImages(train, 8, image_size=(24, 16), rectangular=True)


def test_photos_can_have_one_channel(train):
    normalize = Normalize(0.5, 0.25)
    grey, _ = next(
        iter(ValidationImages(train, 4, image_size=16, transforms=[Grayscale(), normalize]))
    )
    rgb, _ = next(iter(ValidationImages(train, 4, image_size=16, transforms=[Normalize()])))
    expected = (rgb @ torch.tensor([0.2989, 0.587, 0.114]) - 0.5) / 0.25
    torch.testing.assert_close(grey[..., 0], expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a Normalize of their own"):
        ValidationImages(train, 4, image_size=16, transforms=[Grayscale()])


def test_a_banner_does_not_stretch_its_batch(train):
    class Banner:
        class_names, labels = ("a",), np.zeros(1, int)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            from pictures import jpeg

            return jpeg(np.zeros((4, 4000, 3), np.uint8)), 0

    ((images, _),) = ValidationImages(Banner(), 1, image_size=16, rectangular=True)
    assert images.shape == (1, 16, 64, 3)


def test_photos_are_balanced_and_weighed(train):
    rare = train.subset([*range(8), 8, 16])
    weights = np.arange(10.0)
    data = ResizingImages(
        rare, 12, image_size=16, transforms=[],
        sampler=Balanced(rare.labels, per_epoch=12, weights=weights),
    )  # fmt: skip
    ((images, labels, found),) = data
    assert labels.bincount().tolist() == [4, 4, 4]
    assert sorted(found.tolist())[-4:] == [9, 9, 9, 9] and found[labels == 1].tolist() == [8] * 4
    assert len(torch.unique(images[labels == 2].flatten(1), dim=0)) == 4


@pytest.fixture
def four_photos(tmp_path):
    for number in range(4):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number}.png")
    return tmp_path, [f"{number}.png" for number in range(4)]


@pytest.mark.parametrize("missing", [None, float("nan"), "", np.nan])
def test_a_missing_label_is_no_class(four_photos, missing):
    folder, paths = four_photos
    labels = ["cat", missing, "dog", "cat"]
    with pytest.raises(ValueError, match=r"1\.png has no label"):
        PhotoTable({"path": paths, "label": labels}, folder)
    several = PhotoTable({"path": paths, "label": [*labels[:3], "cat dog"]}, folder, separator=" ")
    assert several.class_names == ("cat", "dog")
    assert several.labels.tolist() == [[1, 0], [0, 0], [0, 1], [1, 1]]


def test_whole_numbers_keep_their_names_and_order_as_floats(four_photos):
    folder, paths = four_photos
    table = PhotoTable({"path": paths, "label": [0.0, 2.0, 10.0, 2.0]}, folder)
    assert table.class_names == ("0", "2", "10") and table.labels.tolist() == [0, 1, 2, 1]


def test_a_table_that_is_none_is_refused_by_name(four_photos):
    folder, paths = four_photos
    (folder / "latin.csv").write_bytes("path,label\n0.png,Bär\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv must be a CSV file in UTF-8"):
        PhotoTable(folder / "latin.csv", folder)
    with pytest.raises(ValueError, match=r"equally long, got \[3, 4\]"):
        PhotoTable({"path": paths, "label": ["a", "b", "a"]}, folder)
    columns = {"path": paths, "cat": ["True", "False", "true", "0"], "dog": [0, 1, 1, 0]}
    table = PhotoTable(columns, folder, label=("cat", "dog"))
    assert table.labels.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]
    with pytest.raises(ValueError, match="0 and 1, or true and false"):
        PhotoTable({**columns, "cat": ["yes", "no", "no", "no"]}, folder, label=("cat", "dog"))
