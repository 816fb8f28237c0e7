"""The rehearsal of ImageNet's training, each part at its smallest; each checks what it finds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "imagenet_rehearsal.py"
SIZES = ["--images=3100", "--classes=20", "--validation_images=604"]

pytestmark = pytest.mark.slow


def rehearsed(folder, *parts, flags=()):
    """What the parts have found; the folder is left as it was."""
    before = {path.name for path in folder.iterdir()}
    subprocess.run(
        [sys.executable, str(SCRIPT), *SIZES, *flags, f"--scratch={folder}",
         f"--json={folder / 'all.json'}", *(f"--parts={part}" for part in parts)],
        check=True,
    )  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {*before, "all.json"}
    found = json.loads((folder / "all.json").read_text(encoding="utf-8"))["parts"]
    assert set(found) == set(parts)
    for part in parts:
        assert f"--parts={part}" in found[part]["command"] and SIZES[0] in found[part]["command"]
    return found


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--json={0}/none/all.json"], "The folder of --json="),
        (["--scratch={0}/none"], "The folder of --scratch="),
        (["--classes=700"], "--classes=700 must be at most 604"),
        (["--validation_images=258"], "258 is not integer >= 259"),
        (["--parts=photos"], "needs --photos_dir=FOLDER"),
        (["--parts=photos", "--photos_dir={0}/none"], "must have train/ and val/"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_at_the_beginning(tmp_path, flags, told):
    given = [flag.format(tmp_path) for flag in flags]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *SIZES, f"--scratch={tmp_path}", "--parts=order", *given],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_starts_and_orders(tmp_path):
    found = rehearsed(tmp_path, "tree", "tar", "order", "epoch")
    for part in ("tree", "tar"):
        assert (found[part]["photos"], found[part]["classes"]) == (3100, 20)
    assert found["order"]["served_once"] == 3072 and found["order"]["left_over"] == 28
    assert found["epoch"]["served_once"] == 3072 and found["epoch"]["left_over"] == 28


def test_starts_of_eight_ranks(tmp_path):
    found = rehearsed(tmp_path, "tree_8", "tar_8")
    for part in ("tree_8", "tar_8"):
        assert found[part]["photos"] == 3100
        assert len(found[part]["processor_seconds_of_each"]) == 8
        assert found[part]["seconds_to_the_last_first_batch"] > 0


def test_validation_of_eight_ranks(tmp_path):
    (found,) = rehearsed(tmp_path, "validation").values()
    cases = {name: case["images"] for name, case in found.items() if isinstance(case, dict)}
    assert cases == {"all": 604, "without_a_list": 583, "three_in_the_last_batch": 515}
    # Of 604 numbers from 1 up, 302 are odd, and 151 of these have the next bit too.
    assert found["all"]["right_and_right_among_five"][0] == [151, 302]


def test_phases_and_their_copies(tmp_path):
    (found,) = rehearsed(tmp_path, "phases").values()
    assert found["fastai_8gpu"]["steps"] == 45 * 20 and found["imagenet18_4"]["steps"] == 30 * 4
    copies = [160, 160, 160, 352, 352, 352, None]
    assert found["imagenet18_4"]["trained_on_copies_of"] == copies
    for plan in ("fastai_8gpu", "imagenet18_4"):
        assert found[plan]["validated_on"] == {"128": "val-352", "224": "val-352", "288": "val"}


def test_a_killed_rank(tmp_path):
    (found,) = rehearsed(tmp_path, "killed").values()
    assert found["processes"] == 2  # of rank 0: its first life, and its second
    assert found["variables_with_the_same_bits"] > 60  # of a ResNet-18


def test_real_photos_with_imagenets_flags(tmp_path):
    for part, count in (("train", 6), ("val", 3)):
        for label in range(8):  # one batch of 48
            own = tmp_path / "real" / part / f"breed{label}"
            own.mkdir(parents=True)
            for number in range(count):
                # The same for all labels: nothing to learn, so that no epoch reaches the target.
                image = Image.new("RGB", (64 + number, 72), (200, 20 * number, 90))
                image.save(own / f"{number}.JPEG")
    flags = [f"--photos_dir={tmp_path / 'real'}", "--photos_a_class=6"]
    (found,) = rehearsed(tmp_path, "photos", flags=flags).values()
    assert found["status"] == "finished" and found["epochs"] == 45
    assert found["image_sizes"] == [128, 224, 288]
    assert (found["train_images"], found["val_images"], found["left_out"]) == (48, 20, 4)
