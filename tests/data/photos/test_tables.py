"""Labels from tables: files, columns, data frames."""

import keras_dawn
from keras_dawn.data import MixUp, OneHot
from keras_dawn.data.photos import (
    PhotoTable,
    ResizingImages,
    UnreadablePhotoError,
    ValidationImages,
    prepare,
)

import keras
import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def four_photos(tmp_path):
    for number in range(4):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{number}.png")
    return tmp_path, [f"{number}.png" for number in range(4)]


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

    with pytest.raises(ValueError, match="no column 'label'; it has 'image', 'number', 'word'"):
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
    with pytest.raises(FileNotFoundError, match="no folder"):
        PhotoTable(table, table.parent / "nowhere", path="image", label="word")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_may_be_separated_by_semicolons_or_tabs(table, mark):
    text = table.read_text(encoding="utf-8").replace(";", " ").replace(",", mark)
    other = table.with_name("other.csv")
    other.write_text(text, encoding="utf-8")
    settings = {"path": "image", "label": "word"}
    found, expected = (PhotoTable(p, table.parent, **settings) for p in (other, table))
    assert found.names() == expected.names()
    assert np.array_equal(found.labels, expected.labels)


def test_a_column_whose_name_holds_another_mark_separates_nothing(four_photos):
    folder, names = four_photos
    rows = "".join(f"{name};1;cat\n" for name in names)
    (folder / "t.csv").write_text(f'path;"width, height";label\n{rows}', encoding="utf-8")
    found = PhotoTable(folder / "t.csv", folder)
    assert found.names() == names and found.class_names == ("cat",)


def test_class_names_that_are_one_text_are_refused(four_photos):
    folder, names = four_photos
    with pytest.raises(ValueError, match="must be a list of str, got 'cat'"):
        PhotoTable({"path": names, "label": [*"catc"]}, folder, class_names="cat")


def test_rows_longer_than_the_header_are_refused_and_not_cut(four_photos):
    """Otherwise of `a.png,cat,dog` without quotation marks the second label is lost."""
    folder, _ = four_photos
    table = folder / "t.csv"
    rows = "".join(f"{i}.png,cat,\n" for i in range(3))  # an empty value more is no harm
    table.write_text(f"path,label\n{rows}", encoding="utf-8")
    assert len(PhotoTable(table, folder, separator=",")) == 3
    table.write_text(f"path,label\n{rows}3.png,cat,dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Line 5 of .*t.csv has more values"):
        PhotoTable(table, folder, separator=",")
    table.write_text("path,label,label\n0.png,cat,dog\n", encoding="utf-8")
    with pytest.raises(ValueError, match="header of .* must have each name once"):
        PhotoTable(table, folder)


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


def test_a_data_frame_may_go_through_its_columns_as_that_of_polars_does(four_photos):
    folder, names = four_photos
    held = {"path": names, "label": [3, 1, 3, 2]}

    class Frame:
        columns = list(held)

        def __iter__(self):
            return iter(held.values())

        def __getitem__(self, name):
            return held[name]

    assert PhotoTable(Frame(), folder).labels.tolist() == [2, 0, 2, 1]
