import os
import shutil

from keras_dawn.data.photos import ImageFolder, UnreadablePhotoError, photos_of
from keras_dawn.data.photos.pillow_reader import SUFFIXES

import pytest
from PIL import Image


def test_a_folder_is_read_as_torchvision_reads_it(photo_folder):
    from torchvision.datasets import ImageFolder as Theirs

    ours, theirs = ImageFolder(photo_folder / "train"), Theirs(photo_folder / "train")
    assert list(ours.class_names) == theirs.classes
    assert [
        (str(p), int(y)) for p, y in zip(ours.paths, ours.labels, strict=True)
    ] == theirs.samples
    assert ours.name(0) == "class0/0.JPEG"


def test_bad_folders_say_what_is_wrong(photo_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        ImageFolder(tmp_path / "nowhere")
    for names in ("class0", 3):
        with pytest.raises(ValueError, match="must be a list of str"):
            ImageFolder(photo_folder / "train", names)
    with pytest.raises(FileNotFoundError, match="one for each class.*PhotoTable"):
        ImageFolder(photo_folder / "train" / "class0")
    train = ImageFolder(photo_folder / "train")
    (photo_folder / "val" / "extra").mkdir()
    with pytest.raises(ValueError, match="also has extra"):
        ImageFolder(photo_folder / "val", train.class_names)
    with pytest.raises(ValueError, match="No images in 1 of 4 class folders.*extra"):
        ImageFolder(photo_folder / "val")


def test_classes_are_numbered_in_the_order_that_is_given(photo_folder):
    names = ("class2", "class0", "class1")
    photos = photos_of(photo_folder, "val", names)
    assert photos.class_names == names
    for index, label in enumerate(photos.labels):
        assert photos.name(index).startswith(names[label] + "/")


def test_validation_may_lack_a_class(photo_folder):
    names = ImageFolder(photo_folder / "train").class_names
    shutil.rmtree(photo_folder / "val" / "class1")
    for _ in range(2):
        photos = ImageFolder(photo_folder / "val", names)
        assert photos.class_names == names and sorted(set(photos.labels)) == [0, 2]
        (photo_folder / "val" / "class1").mkdir(exist_ok=True)  # an empty folder is as good


@pytest.mark.parametrize(
    "junk",
    [".ipynb_checkpoints/0.JPEG", "class0/.ipynb_checkpoints/0.JPEG", "__MACOSX/class0/._0.JPEG",
     "class0/._0.JPEG", "class0/Thumbs.db", ".DS_Store", "notes.txt"],
)  # fmt: skip
def test_what_programs_leave_in_folders_is_no_photo_and_no_class(photo_folder, junk):
    before = ImageFolder(photo_folder / "train")
    path = photo_folder / "train" / junk
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(before[0][0])
    after = ImageFolder(photo_folder / "train")
    assert after.names() == before.names() and after.class_names == before.class_names


def test_links_are_followed_and_a_folder_may_be_called_like_a_photo(photo_folder, tmp_path):
    train, other = photo_folder / "train", tmp_path / "other"
    shutil.copytree(train / "class1", other)
    (train / "class0" / "more").symlink_to(other)
    (train / "class2" / "album.jpg").mkdir()
    shutil.copy(other / "0.JPEG", train / "class2" / "album.jpg")
    photos = ImageFolder(train)
    assert [list(photos.labels).count(label) for label in range(3)] == [16, 8, 9]
    assert "class0/more/3.JPEG" in photos.names()


def test_a_link_to_a_folder_above_it_is_refused(photo_folder):
    (photo_folder / "train" / "class0" / "loop").symlink_to(photo_folder / "train" / "class0")
    with pytest.raises(ValueError, match="loop is a link to .*class0"):
        ImageFolder(photo_folder / "train")


def test_dead_links_and_photos_without_a_decoder_are_named_from_the_start(photo_folder):
    folder = photo_folder / "train" / "class0"
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "camera.CR3").write_bytes(b"")
    os.symlink("self.jpg", folder / "self.jpg")
    with pytest.raises(UnreadablePhotoError, match=r"3 of 27 files.*camera.CR3.*gone.jpg"):
        ImageFolder(photo_folder / "train")
    photos = ImageFolder(photo_folder / "train", most_unreadable=0.2)
    assert len(photos) == 24
    assert photos.skipped["class0/gone.jpg"] == photos.skipped["class0/self.jpg"]
    assert "convert it" in photos.skipped["class0/camera.CR3"]
    assert repr(photos).endswith("24 photos, 3 classes, 3 skipped>")
    with pytest.raises(UnreadablePhotoError):
        ImageFolder(photo_folder / "train", most_unreadable=1.0, unreadable="error")


def test_every_suffix_is_one_that_pillow_reads():
    Image.init()
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    assert set(SUFFIXES) <= known


def test_photos_are_left_out_by_name(photo_folder):
    photos = ImageFolder(photo_folder / "train")
    rest = photos.without({"class0/0.JPEG": "blurred", "class2/7.JPEG": "blurred"})
    assert len(rest) == 22 and "class0/0.JPEG" not in rest.names()
    assert [rest[i] for i in range(22)] == [photos[i] for i in [*range(1, 23)]]
    assert rest.labels.tolist() == photos.labels[1:-1].tolist()


@pytest.mark.parametrize(
    "settings, words",
    [({"unreadable": "ignore"}, "one of leave_out"), ({"most_unreadable": 10}, "a fraction")],
)
def test_bad_settings_say_what_is_expected(photo_folder, settings, words):
    with pytest.raises(ValueError, match=words):
        ImageFolder(photo_folder / "train", **settings)


def test_the_parent_of_training_and_validation_folders_is_refused(tmp_path):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / name / "0.png")
    with pytest.raises(ValueError, match=r"holds train and val.*class_names=\('train', 'val'\)"):
        ImageFolder(tmp_path)
    assert len(ImageFolder(tmp_path, class_names=("train", "val"))) == 4
    assert ImageFolder(tmp_path / "train").class_names == ("cat", "dog")
