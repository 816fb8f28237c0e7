import importlib
import io
import json
import subprocess
import sys
import tarfile

import keras_dawn.data.photos
from keras_dawn.data.photos import (
    ImageFolder,
    ImageNetTar,
    PreparedImages,
    ResizingImages,
    TfdsImages,
    prepare,
    split,
)
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.prepare import shrink
from keras_dawn.data.photos.shards import new_suffix

import numpy as np
import pytest
from pictures import jpeg, smooth


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def tars(photo_folder):
    """ImageNet's tar files with the photos of the folders."""
    with tarfile.open(photo_folder / "train.tar", "w") as outer:
        for folder in sorted((photo_folder / "train").iterdir()):
            inner_bytes = io.BytesIO()
            with tarfile.open(fileobj=inner_bytes, mode="w") as inner:
                for path in sorted(folder.iterdir()):
                    add(inner, f"{folder.name}_{path.name}", path.read_bytes())
            add(outer, f"{folder.name}.tar", inner_bytes.getvalue())
    lines = ["ImageId,PredictionString"]
    with tarfile.open(photo_folder / "val.tar", "w") as archive:
        for path in sorted((photo_folder / "val").rglob("*.JPEG")):
            name = f"val_{path.parent.name}_{path.name}"
            add(archive, name, path.read_bytes())
            lines.append(f"{name.removesuffix('.JPEG')},{path.parent.name} 1 2 3 4 ")
    (photo_folder / "labels.csv").write_text("\n".join(lines[:1] + lines[:0:-1]), encoding="utf-8")
    return photo_folder


def test_imagenets_tar_files_are_read_in_place(tars):
    train, folder = ImageNetTar(tars / "train.tar"), ImageFolder(tars / "train")
    assert train.class_names == folder.class_names and len(train) == len(folder)
    assert [train[i] for i in range(len(train))] == [folder[i] for i in range(len(folder))]
    assert train.name(0) == "class0/class0_0.JPEG"
    assert repr(train) == f"<ImageNetTar {tars / 'train.tar'}: 24 photos, 3 classes>"
    val = ImageNetTar(tars / "val.tar", tars / "labels.csv", train.class_names)
    expected = ImageFolder(tars / "val")
    assert [val[i] for i in range(len(val))] == [expected[i] for i in range(len(expected))]


def test_images_of_two_classes_may_have_one_name_in_their_tar_files(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w") as outer:
        for name in ("cat", "dog"):
            inner_bytes = io.BytesIO()
            with tarfile.open(fileobj=inner_bytes, mode="w") as inner:
                for number in range(4):
                    add(inner, f"{number}.JPEG", f"{name}{number}".encode())
            add(outer, f"{name}.tar", inner_bytes.getvalue())
    photos = ImageNetTar(tmp_path / "train.tar")
    assert photos.names()[3:5] == ["cat/3.JPEG", "dog/0.JPEG"]
    assert len(photos.without(["cat/3.JPEG"])) == 7
    parts = [split(photos, 0.5, seed=seed)[1].names() for seed in range(9)]
    # By number alone each cat would go with the dog of its name.
    assert any(name.replace("cat", "dog") not in part for part in parts for name in part)


def test_a_validation_image_without_a_class_is_an_error(tars):
    lines = (tars / "labels.csv").read_text(encoding="utf-8").splitlines()
    (tars / "labels.csv").write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match="has no class for val_class0_0.JPEG"):
        ImageNetTar(tars / "val.tar", tars / "labels.csv")


def test_a_tfds_builder_is_read_without_tensorflow(tmp_path):
    import tensorflow_datasets as tfds

    builder = tfds.testing.DummyDataset  # has no image
    with pytest.raises(ValueError, match="expected image and label"):
        TfdsImages(builder(data_dir=tmp_path), "train")

    class Photos(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                    }
                ),
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(4):
                data = io.BytesIO(jpeg(smooth(40, 50, number)))
                yield number, {"image": data, "label": number % 2}

    made = Photos(data_dir=tmp_path, file_format="array_record")
    made.download_and_prepare()
    source = TfdsImages(made, "train")
    assert len(source) == 4 and source.class_names == ("cat", "dog")
    found = {source[i] for i in range(4)}
    assert found == {(jpeg(smooth(40, 50, number)), number % 2) for number in range(4)}
    assert source.name(1) == "photos/train[1]"
    assert repr(source) == "<TfdsImages photos/train: 4 photos, 2 classes>"
    photos = ResizingImages(source, 2, image_size=16)
    assert photos.fingerprint() and "labels" not in vars(source)  # nothing was read for them
    assert source.labels.tolist() == [source[i][1] for i in range(4)]
    again = TfdsImages(made, "train")
    for part in (*split(again, 0.5), again.subset([0, 3])):
        assert len(part) == 2 and part.labels.tolist() == [part[0][1], part[1][1]]
    training, validation = split(TfdsImages(made, "train"), 0.5)
    assert sorted(training.labels) == sorted(validation.labels) == [0, 1]


def test_copies_have_the_short_side_and_keep_label_name_and_shape(photo_folder):
    source = ImageFolder(photo_folder / "train")
    copies = prepare(source, photo_folder / "copies", 32, shard_images=7, processes=2)
    assert len(copies) == len(source) and copies.class_names == source.class_names
    for index in range(len(source)):
        data, label = copies[index]
        small, large = read_header(data), read_header(source[index][0])
        assert label == source.labels[index] and copies.name(index) == source.name(index)
        assert min(small.width, small.height) == 32
        assert small.width / small.height == pytest.approx(large.width / large.height, rel=0.05)
    copies.verify()
    assert copies.problems == {}
    assert repr(copies) == f"<PreparedImages {copies.folder}: 24 photos, 3 classes>"


def test_prepare_is_a_function_whatever_was_imported_before():
    importlib.import_module("keras_dawn.data.photos.prepare.__main__")
    assert keras_dawn.data.photos.prepare is prepare and callable(prepare)


@pytest.mark.slow
def test_the_command_makes_copies_or_says_in_a_line_what_is_wrong(photo_folder):
    def called(*arguments):
        command = [sys.executable, "-m", "keras_dawn.data.photos.prepare", *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=photo_folder)
        return done.returncode, done.stdout + done.stderr

    asked = ["--source=train", "--output=copies", "--short_side=32", "--processes=1"]
    for arguments, words in (
        ([*asked, "quality=9"], "Not a flag: quality=9"),
        (["--source=nowhere", *asked[1:]], "There is no folder nowhere"),
    ):
        code, said = called(*arguments)
        assert code != 0 and words in said and "Traceback" not in said
        assert not (photo_folder / "copies").exists()
    code, said = called(*asked)
    assert code == 0 and "24 images in copies" in said and "Warning" not in said


def test_a_smaller_photo_keeps_its_size():
    photo = read_header(shrink(jpeg(smooth(20, 30)), 160, 90))
    assert (photo.width, photo.height) == (30, 20)


def test_an_interrupted_preparation_goes_on_where_it_was(photo_folder):
    source = ImageFolder(photo_folder / "train")

    class DiesAt:
        class_names = source.class_names

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            if index == 15:
                raise KeyboardInterrupt
            return source[index]

        def name(self, index):
            return source.name(index)

    folder = photo_folder / "copies"
    with pytest.raises(KeyboardInterrupt):
        prepare(DiesAt(), folder, 32, shard_images=7, processes=1)
    with pytest.raises(FileNotFoundError, match="no finished copies"):
        PreparedImages(folder)
    first = folder / f"shard-00000-of-00004{new_suffix()}"
    written = first.stat().st_mtime_ns
    copies = prepare(source, folder, 32, shard_images=7, processes=1)
    assert first.stat().st_mtime_ns == written
    assert len(copies) == len(source)
    copies.verify()


def test_an_index_that_names_files_elsewhere_is_refused(photo_folder):
    source, folder = ImageFolder(photo_folder / "train"), photo_folder / "copies"
    prepare(source, folder, 32, processes=1)
    elsewhere = photo_folder / "config"
    elsewhere.write_bytes(b"12345")
    index = folder / "index.json"
    document = json.loads(index.read_text(encoding="utf-8"))
    for name in ("../config", str(elsewhere), "..", "config", 3):
        shard = {**document["shards"][0], "file": name, "bytes": 5}
        shards = [*document["shards"], shard]
        index.write_text(json.dumps({**document, "shards": shards}), encoding="utf-8")
        with pytest.raises(ValueError, match="names .* among its shards"):
            PreparedImages(folder)
        with pytest.raises(ValueError, match="names .* among its shards"):
            prepare(source, folder, 32, processes=1)
    assert not (photo_folder / "config.json").exists()


def test_copies_with_other_settings_and_damage_are_refused(photo_folder):
    source = ImageFolder(photo_folder / "train")
    folder = photo_folder / "copies"
    prepare(source, folder, 32, shard_images=7, processes=1)
    with pytest.raises(ValueError, match="other settings \\(short_side\\)"):
        prepare(source, folder, 40, shard_images=7, processes=1)
    with pytest.raises(ValueError, match="short_side ≥ 8"):
        prepare(source, folder, 2)
    shard = folder / f"shard-00001-of-00004{new_suffix()}"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        PreparedImages(folder).verify()
    shard.unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        PreparedImages(folder)
    copies = prepare(source, folder, 32, shard_images=7, processes=1)
    copies.verify()
    assert len(copies) == len(source)


def test_unreadable_photos_are_left_out_and_named(photo_folder):
    (photo_folder / "train" / "class1" / "0.JPEG").write_bytes(b"nothing")
    source = ImageFolder(photo_folder / "train")
    copies = prepare(source, photo_folder / "copies", 32, processes=1)
    assert len(copies) == len(source) - 1
    assert "left out" in copies.problems["class1/0.JPEG"]
    assert "class1/0.JPEG" not in [copies.name(i) for i in range(len(copies))]
    assert np.bincount(copies.labels).tolist() == [8, 7, 8]


@pytest.mark.parametrize("finished", [True, False])
def test_copies_of_photos_that_are_others_by_now_are_refused(finished, photo_folder):
    classes, folder = photo_folder / "train", photo_folder / "copies"
    prepare(ImageFolder(classes), folder, 32, shard_images=7, processes=1)
    before = PreparedImages(folder).names()
    if not finished:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        for shard in index.pop("shards"):
            report = folder / f"{shard.pop('file')}.json"
            report.write_text(json.dumps(shard), encoding="utf-8")
        index = {**index, "finished": False}
        (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (classes / "class0" / "0.JPEG").rename(classes / "class1" / "a.JPEG")
    with pytest.raises(ValueError, match="copies of other photos"):
        prepare(ImageFolder(classes), folder, 32, shard_images=7, processes=1)
    if finished:  # and the copies are still there
        assert PreparedImages(folder).names() == before
    (classes / "class1" / "a.JPEG").rename(classes / "class0" / "0.JPEG")
    assert prepare(ImageFolder(classes), folder, 32, shard_images=7, processes=1).names() == before
    with pytest.raises(ValueError, match="or of other classes"):
        others = ImageFolder(classes)
        others.labels = others.labels[::-1]
        prepare(others, folder, 32, shard_images=7, processes=1)


def test_labels_are_whole_numbers_where_a_shard_is_empty(photo_folder):
    for number in range(4):
        (photo_folder / "train" / "class0" / f"{number}.JPEG").write_bytes(b"nothing")
    source = ImageFolder(photo_folder / "train")
    copies = prepare(source, photo_folder / "copies", 32, shard_images=4, processes=1)
    assert copies.labels.dtype == np.int64
    assert copies.labels.tolist() == [0] * 4 + [1] * 8 + [2] * 8
    assert copies[-1] == copies[19]
