"""Which photos a photo recipe says that its network is most wrong about, and those it judges by."""

import dataclasses
import shutil
from types import SimpleNamespace

from keras_dawn.data.photos.prepare import prepare
from keras_dawn.dawnbench.records import RunFolder

import imagenet_resnet50
import keras
import numpy as np
import pytest
from PIL import Image

from recipe_parts import answers, photo_folder, reporting
from recipe_parts.photo_folder import Photos

PRESET = imagenet_resnet50.PRESETS["smoke"]
LEVELS = {f"{number:02}.png": 10 * number for number in range(24)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """24 photos of three classes in each part, each of one grey level of its own."""
    monkeypatch.setattr(photo_folder, "FLAGS", SimpleNamespace(threads=1))
    for part in ("train", "val"):
        for number, (name, level) in enumerate(LEVELS.items()):
            path = tmp_path / part / f"n{number // 8}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (level,) * 3).save(path)
    return tmp_path


def test_the_worst_photos_have_their_own_names_where_one_cannot_be_read(
    folder, tmp_path, monkeypatch
):
    keras.utils.set_random_seed(0)
    (folder / "val" / "n0" / "03.png").write_bytes(b"no photo")  # which no copies would tell
    photos = Photos(folder, PRESET)
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shown = []
    monkeypatch.setattr(
        answers, "_written", lambda found, worst, names, pixels, *_: shown.append((names, pixels))
    )
    with pytest.warns(UserWarning, match="cannot be read"):
        answers.of_photos(model, photos, PRESET.plan.phases[-1], RunFolder(tmp_path / "run"))
    ((names, pixels),) = shown
    assert len(names) == 16
    levels = [LEVELS[name.split("/")[1]] for name in names]
    np.testing.assert_allclose(255 * pixels.mean((1, 2, 3)), levels, atol=1)


def test_a_preset_of_some_photos_judges_as_many_copies(folder):
    preset = dataclasses.replace(PRESET, val_images=6)
    prepare(Photos(folder, PRESET).val("originals"), folder / "val-352", 352, processes=1)
    photos = Photos(folder, preset)
    assert photos.val(352).names() == photos.val("originals").names()
    assert len(photos.val(352)) == 6


def test_copies_of_another_size_than_their_folder_says_are_refused(folder):
    prepare(Photos(folder, PRESET).val("originals"), folder / "val-352", 160, processes=1)
    with pytest.raises(ValueError, match=r"val-352 must have .* 352 px, it has them at 160"):
        Photos(folder, PRESET).val(352)


def test_a_set_in_this_folder_has_its_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert Photos(".", PRESET).name == folder.name


def test_photos_that_no_plan_can_be_trained_on_are_refused(folder):
    with pytest.raises(ValueError, match="24 images make no batch of 32"):
        Photos(folder, PRESET).check()
    for part in ("train", "val"):
        for label in ("n1", "n2"):
            shutil.rmtree(folder / part / label)
    with pytest.raises(ValueError, match="one class"):
        Photos(folder, PRESET).check()


def test_brackets_in_names_are_shown_as_they_are():
    with reporting.console.capture() as shown:
        reporting.problems({"val/cat/[old] 1.jpg": "an empty file", "val/[/a].jpg": "no photo"})
    assert "val/cat/[old] 1.jpg: an empty file" in shown.get() and "val/[/a].jpg" in shown.get()
