"""Which runs on photos are entries of ImageNet's board."""

import json
from pathlib import Path

from keras_dawn.data.photos import ImageFolder, ValidationImages
from keras_dawn.data.photos.prepare import prepare
from keras_dawn.distributed import launch

import imagenet_resnet50
import pytest
from PIL import Image

from recipe_parts import imagenet_entry
from recipe_parts.photo_folder import Photos
from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "imagenet_resnet50.py"
SMALL_BOARD = f"""
import runpy
from recipe_parts import imagenet_entry
imagenet_entry.IMAGES, imagenet_entry.CLASSES, imagenet_entry.VALIDATED = 36, 6, 12
runpy.run_path({str(RECIPE)!r}, run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """36 and 12 photos of six classes, under ImageNet's names; all that this ImageNet has."""
    for part, count in (("train", 36), ("val", 12)):
        for number in range(1, count + 1):
            own = tmp_path / part / f"n0000000{number % 6}"
            own.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (40, 36), (20 * (number % 6), 5 * number, 80))
            image.save(own / f"ILSVRC2012_{part}_{number:08d}.JPEG")
    for name, count in (("IMAGES", 36), ("CLASSES", 6), ("VALIDATED", 12)):
        monkeypatch.setattr(imagenet_entry, name, count)
    return tmp_path


def photos_of(folder, blacklist=frozenset()):
    return Photos(folder, imagenet_resnet50.PRESETS["small"], blacklist)


def test_a_run_judged_on_all_photos_is_an_entry(folder):
    photos = photos_of(folder)
    assert imagenet_entry.is_imagenet(photos)
    assert imagenet_entry.why_none(photos, 12) is None


def test_the_photos_of_the_list_may_be_left_out_and_no_others(folder):
    photos = photos_of(folder, {3, 5})
    assert imagenet_entry.why_none(photos, 10) is None
    assert imagenet_entry.why_none(photos, 9) == "9 validation photos were counted, not 10."


def test_fewer_validation_photos_are_no_entry(folder):
    next((folder / "val" / "n00000003").iterdir()).unlink()
    photos = photos_of(folder)
    assert imagenet_entry.is_imagenet(photos)
    assert imagenet_entry.why_none(photos, 11) == "val has 11 photos, not 12."


def test_an_odd_validation_photo_is_no_entry_even_if_others_make_up_the_number(folder):
    path = next((folder / "val" / "n00000003").iterdir())
    path.write_bytes(b"")
    photos = photos_of(folder)
    data = ValidationImages(photos.val("originals"), 4, image_size=32, threads=1)
    photos._serve("val", data)
    with pytest.warns(UserWarning, match="cannot be read"):
        list(data)
    said = imagenet_entry.why_none(photos, 12)
    assert said == f"1 validation photos could not be read, such as val/n00000003/{path.name}."


def test_an_odd_training_photo_is_no_hindrance(folder):
    photos = photos_of(folder)
    photos._problems["train"]["n00000001/1.JPEG"] = "an empty file"
    assert imagenet_entry.why_none(photos, 12) is None


def test_copies_of_some_of_the_photos_are_no_entry(folder):
    some = ImageFolder(folder / "val").subset(range(10))
    prepare(some, folder / "val-352", 352, processes=1)
    photos = photos_of(folder)
    photos.val(352)
    assert imagenet_entry.why_none(photos, 12) == "val-352 has 10 photos, not 12."


def test_a_run_that_was_interrupted_before_all_was_counted_is_none(folder):
    assert "interrupted" in imagenet_entry.why_none(photos_of(folder), None)


def test_another_set_is_not_imagenet(folder, monkeypatch):
    photos = photos_of(folder)
    monkeypatch.setattr(imagenet_entry, "CLASSES", 7)
    assert not imagenet_entry.is_imagenet(photos)  # as many photos, of fewer classes
    monkeypatch.setattr(imagenet_entry, "CLASSES", 6)
    next((folder / "train" / "n00000003").iterdir()).unlink()
    assert not imagenet_entry.is_imagenet(photos_of(folder))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_a_recipe_writes_an_entry_only_where_all_photos_were_counted(folder, damaged):
    path = next((folder / "val" / "n00000003").iterdir())
    if damaged:
        path.write_bytes(b"")
    (folder / "recipe.py").write_text(SMALL_BOARD, encoding="utf-8")
    given = ["--preset=smoke", f"--data_dir={folder}", "--output_dir=out", "--author=somebody"]
    done = processes.run(folder / "recipe.py", *given, cwd=folder)
    assert done.returncode == 0, done.printed
    document = json.loads((folder / "out" / "run.json").read_text(encoding="utf-8"))
    entries = list((folder / "out").glob("somebody_*.tsv"))
    assert len(entries) == (not damaged)
    assert document["data"]["validated_on"] == {"32": "val"}
    if damaged:
        assert f"No DAWNBench entry: {document['no_entry']}" in done.printed
        assert path.name in document["no_entry"]
    else:
        assert document["no_entry"] is None


@pytest.mark.slow
def test_every_rank_knows_what_others_could_not_read(folder):
    next((folder / "val" / "n00000003").iterdir()).write_bytes(b"")
    known = launch(_problems_of_a_rank, str(folder), processes=2)
    assert known[0] == known[1] and len(known[0]) == 1


def _problems_of_a_rank(folder):
    import warnings

    from keras_dawn.distributed.sharding import shared_out

    photos = photos_of(folder)
    data = ValidationImages(photos.val("originals"), 4, image_size=32, threads=1)
    photos._serve("val", data)
    with warnings.catch_warnings(action="ignore"), shared_out(data, training=False):
        list(data)
    photos.gather_problems()
    return photos.problems()
