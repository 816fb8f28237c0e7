"""The recipe on photos, as a user starts it but for what is imported already."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests import processes
from tests.recipes.killed import whole_and_cut

RECIPE = Path(__file__).parents[2] / "recipes" / "imagenet_resnet50.py"


def run(*flags, cwd):
    done = processes.run(RECIPE, *flags, cwd=cwd)
    return done.returncode, done.printed


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of five classes; one has an odd file of the same name in each part."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("val", 12)):
        for label in range(5):
            (folder / part / f"n{label}").mkdir(parents=True)
            for number in range(count):
                shape = (*random.integers(40, 70, 2), 3)
                pixels = random.integers(40 * label, 40 * label + 60, shape, dtype=np.uint8)
                path = folder / part / f"n{label}" / f"{number}.JPEG"
                path.write_bytes(simplejpeg.encode_jpeg(pixels, 90))
    for part in ("train", "val"):
        (folder / part / "n3" / "0.JPEG").write_bytes(b"no photo" if part == "train" else b"")
    return folder


@pytest.fixture(scope="module")
def smoke(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    code, output = run(
        "--preset=smoke", f"--data_dir={photos}", "--output_dir=out", "--label_smoothing=0.1",
        "--mixup=0.2", "--ema=0.9", "--cudnn_benchmark", "--price_per_hour=24.48",
        "--price_source=a test", cwd=folder,
    )  # fmt: skip
    assert code == 0, output
    return output, folder / "out"


def test_a_run_leaves_one_folder_with_the_plan_in_it(smoke):
    output, out = smoke
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "finished"
    assert document["cudnn_benchmark"] is True
    assert document["paid"] is None and document["taken_up"] == []
    assert document["settings"]["plan_name"] == "one_cycle_24-32"
    assert document["data"]["train_images"] == 256 and document["data"]["classes"] == 5
    assert document["with_flips"]["image_size"] == 32 and document["with_flips"]["flip"]
    assert {p.name for p in out.iterdir()} >= {
        "run.json",
        "history.csv",
        "schedule.png",
        "loss.png",
    }
    history = (out / "history.csv").read_text(encoding="utf-8")
    assert "val_size" in history and "val_top5" in history and "image_size" in history
    assert "one_cycle_24-32: 2 epochs" in output


def test_odd_files_are_named_on_the_screen_and_in_the_record(smoke):
    output, out = smoke
    assert "2 odd files did not stop the run" in output
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    found = document["data"]["problems"]
    assert list(found) == ["train/n3/0.JPEG", "val/n3/0.JPEG"]
    assert "no decoder reads it" in found["train/n3/0.JPEG"]
    assert found["val/n3/0.JPEG"] == "an empty file"
    for name in found:
        assert name in output


def test_what_is_confused_and_the_worst_photos_are_written_and_drawn(smoke):
    _, out = smoke
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    answers = document["answers"]
    assert answers["images"] == 59 and len(answers["worst"]) == 16
    losses = [row["loss"] for row in answers["worst"]]
    assert losses == sorted(losses, reverse=True)
    for row in answers["worst"]:  # its class is that of its folder
        assert row["name"].startswith(f"{row['true']}/")
    counts = [row["count"] for row in answers["most_confused"]]
    assert counts == sorted(counts, reverse=True) and sum(counts) <= 59
    assert all(row["true"] != row["predicted"] for row in answers["most_confused"])
    assert {"confusion.png", "worst_photos.png"} <= {path.name for path in out.iterdir()}


def test_the_target_of_few_classes_is_one_of_the_first_answer(smoke):
    output, out = smoke
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert document["target_on"] == "accuracy" and document["epochs"][-1]["top5_accuracy"] == 100
    assert "93 % reached" in output and "top-5 reached" not in output
    assert (document["reached"] is None) == (max(e["accuracy"] for e in document["epochs"]) < 93)


def test_a_dry_run_prints_plan_and_projection_and_trains_nothing(photos, tmp_path):
    code, output = run(
        "--preset=smoke", f"--data_dir={photos}", "--dry_run", "--gpus=2", "--price_per_hour=5",
        "--price_source=a test", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, output
    assert "PROJECTION, not a measurement" in output and "USD" in output
    assert "from epoch 2, 32 px" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--preset=huge"], "modern_18"),
        (["--data_dir=nowhere"], "no folder nowhere"),
        (["--price_per_hour=3"], "price_source"),
        (["--mixup=0.2", "--cutmix=1.0"], "got both"),
        (["--target=0.93"], "Did you mean 93"),
    ],
)
def test_bad_flags_end_before_training(flags, words, tmp_path):
    code, output = run(*flags, cwd=tmp_path)
    assert code != 0 and words in output and "Traceback" not in output


def test_a_killed_run_goes_on_and_ends_like_an_unbroken_one(photos, tmp_path):
    import torch

    # The second epoch is the second phase.
    flags = ["--preset=smoke", f"--data_dir={photos}", "--checkpoint_steps=3"]
    whole, cut = whole_and_cut(RECIPE, flags, tmp_path)
    assert whole["epoch"] == cut["epoch"] == 2
    pairs = zip(whole["variables"], cut["variables"], strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert whole["history"]["loss"] == cut["history"]["loss"]
    rows = (tmp_path / "c" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3


def test_every_seed_lists_the_photos_while_its_clock_runs():
    from recipe_parts.photos import loaded_by_seed

    def find():
        time.sleep(0.01)
        return object()

    loaded = loaded_by_seed("first clock", "first photos", find)
    assert next(loaded) == ("first clock", "first photos")
    (clock, second), (other, third) = next(loaded), next(loaded)
    assert clock.training_seconds() >= 0.01 and other.training_seconds() >= 0.01
    assert clock is not other and second is not third


@pytest.mark.slow
def test_each_of_several_runs_has_checkpoints_of_its_own(photos, tmp_path):
    flags = ("--preset=smoke", f"--data_dir={photos}", "--runs=2", "--checkpoints=saved")
    code, output = run(*flags, "--output_dir=out", cwd=tmp_path)
    assert code == 0, output
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"seed0", "seed1"}


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--plan=modern_18", "--preset=smoke"], "got modern_18 and smoke"),
        (["--gpus=4"], "Without --dry_run .* no use for --gpus"),
        (["--blacklist=list.txt"], "Without --data_dir=FOLDER .* no use for --blacklist"),
    ],
)
def test_flags_that_would_have_no_effect_are_refused(flags, words, monkeypatch):
    from keras_dawn.distributed import Ranks

    import imagenet_resnet50
    from absl import flags as absl_flags

    from recipe_parts import photos, run_flags
    from tests.recipes.test_recipe import FlagDefiner

    values = absl_flags.FlagValues()
    for module in (photos, run_flags):
        monkeypatch.setattr(module, "FLAGS", values)
        monkeypatch.setattr(module, "flags", FlagDefiner(values))
    photos.define_flags(imagenet_resnet50.PRESETS)
    values(["imagenet_resnet50.py", *flags])
    with pytest.raises(ValueError, match=words):
        photos.choose_preset(imagenet_resnet50.PRESETS, "fastai_8gpu", Ranks())
        photos.check_used()
