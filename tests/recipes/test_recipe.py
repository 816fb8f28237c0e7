"""The recipe as a user starts it: in a process of its own, with flags."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from keras_dawn.data import cifar10_batches
from keras_dawn.dawnbench import records, validate_entry

import pytest

from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_wrn.py"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """One run on the digits that the tests below look at."""
    folder = tmp_path_factory.mktemp("smoke")
    done = processes.run(
        RECIPE,
        "--preset=smoke", "--dataset=digits", "--output_dir=out", "--runs=2", "--target=5", "--tta",
        "--price_per_hour=3.06", "--spot_price_per_hour=0.9", "--price_source=a test",
        "--batch_size=256", "--cudnn_benchmark", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.printed
    return done.printed, folder / "out"


def test_a_run_folder_is_complete(smoke):
    printed, out = smoke
    names = {path.name for path in (out / "seed1").iterdir()}
    pictures = {"schedule.png", "loss.png", "time_to_accuracy.png"}
    pictures |= {"confusion.png", "worst_photos.png"}
    assert names == {"run.json", "history.csv"} | pictures
    document = json.loads((out / "seed1" / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "finished" and document["seed"] == 1
    assert document["data"]["name"] == "digits" and len(document["data"]["sha256"]) == 64
    assert [price["kind"] for price in document["prices"]] == ["on-demand", "spot"]
    assert 0 < document["training_seconds"] <= document["wall_seconds"]
    assert document["settings"]["batch_size"] == 256
    assert document["cudnn_benchmark"] is True
    averaged = document["test_time_augmentation"]["accuracy"]
    assert 0 <= averaged <= 1
    assert f"{100 * averaged:.2f} %" in printed
    with (out / "seed1" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and {"learning_rate", "momentum", "cost_usd"} <= set(rows[0])


def test_several_seeds_are_summed_up(smoke):
    printed, out = smoke
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["runs"] == 2 and summary["runs_that_reached_it"] == 2
    accuracy = summary["test_accuracy"]
    assert accuracy["lowest"] <= accuracy["mean"] <= accuracy["highest"]
    assert "2 of 2 runs reached 5 %" in printed


def test_it_says_which_data_and_how_it_differs_from_the_entry(smoke):
    printed, _ = smoke
    assert "The built-in digits, as asked." in printed
    assert "wrn-22-6" in printed and "wrn-10-1" in printed


def test_a_digits_run_writes_no_cifar10_entry(smoke):
    _, out = smoke
    assert not list(out.rglob("*.tsv"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset=fastest"], "--preset must be auto or one of dawnbench_1gpu"),
        (["--precision=int8"], "--precision must be one of auto, float32"),
        (["--dataset=mnist"], "one of auto, cifar10, digits"),
        (["--target=0.94"], "Did you mean 94"),
        (["--target=101"], "from 1 to 100"),
        (["--seed=-1"], "Seeds go from 0 to 4294967295; --seed and --runs make -1 to -1"),
        (["--seed=4294967295", "--runs=2"], "--seed and --runs make 4294967295 to 4294967296"),
        (["--price_per_hour=-1", "--price_source=x"], "price per hour must be 0 or more"),
        (["--price_per_hour=1"], "needs --price_source"),
        (["--max_lr=0"], "--max_lr must be above 0"),
        (["--dataset=cifar10", "--data_dir=nowhere"], "There is no folder nowhere"),
        (["--dataset=digits", "--data_dir=nowhere"], "for CIFAR-10"),
        (["--output_dir=taken"], "nothing in it is overwritten"),
        (["--notice=aws"], "Without --checkpoints=FOLDER there is no use for --notice"),
        (["--checkpoint_steps=9"], "no use for --checkpoint_steps"),
    ],
)
def test_bad_flags_end_before_training_with_a_clear_message(
    flags, message, tmp_path, monkeypatch, capsys
):
    import cifar10_wrn
    from absl import app
    from absl import flags as absl_flags

    from recipe_parts import cifar10 as cifar10_recipe
    from recipe_parts import run_flags

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").touch()
    monkeypatch.chdir(tmp_path)
    values = absl_flags.FlagValues()
    for module in (cifar10_recipe, run_flags):
        monkeypatch.setattr(module, "FLAGS", values)
        monkeypatch.setattr(module, "flags", FlagDefiner(values))
    monkeypatch.setattr(cifar10_recipe, "train", None)  # never reached
    cifar10_recipe.define_flags(cifar10_wrn.PRESETS)
    dataset = [] if any("--dataset" in flag for flag in flags) else ["--dataset=digits"]
    values(["cifar10_wrn.py", *dataset, *flags])
    with pytest.raises(app.UsageError, match=message):
        cifar10_recipe.main("cifar10_wrn", cifar10_wrn.PRESETS, "dawnbench_1gpu", None)
    assert not (tmp_path / "runs").exists()


class FlagDefiner:
    """absl's flag definitions, into values of their own."""

    def __init__(self, values):
        self.values = values

    def __getattr__(self, name):
        from absl import flags

        return lambda *args, **kwargs: getattr(flags, name)(
            *args, flag_values=self.values, **kwargs
        )


def test_ctrl_c_keeps_the_history_so_far(tmp_path):
    process = subprocess.Popen(
        [sys.executable, RECIPE, "--preset=smoke", "--dataset=digits", "--output_dir=out",
         "--epochs=500"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell has its background jobs, such as this suite, ignore it, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    history = tmp_path / "out" / "history.csv"
    assert processes.wait_for(history.exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=150)  # it draws pictures first
    assert process.returncode == 130, output
    document = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "interrupted" and document["epochs"]
    assert len(history.read_text(encoding="utf-8").splitlines()) == len(document["epochs"]) + 1
    assert "interrupted" in output


def test_a_full_disk_still_prints_the_numbers(tmp_path):
    """/dev/full stands for the disk: every write to it fails with ENOSPC."""
    done = processes.run(
        RECIPE, "--preset=smoke", "--dataset=digits", cwd=tmp_path, prepare=fill_the_disk
    )
    assert done.returncode == 1, done.printed
    assert "test accuracy" in done.printed and "No space left" in done.printed


def fill_the_disk():
    def full(self, name, text):
        with open("/dev/full", "w", encoding="utf-8") as file:
            file.write(text)

    records.RunFolder.write_text = full


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_two_processes_show_one_bar_and_write_one_folder(dataset, tiny_cifar10, tmp_path):
    where = [f"--data_dir={tiny_cifar10.parent}"] if dataset == "cifar10" else []
    flags = ("--preset=smoke", f"--dataset={dataset}", *where, "--epochs=1", "--batch_size=50")
    prepare = partial(accept, dict(cifar10_batches.BATCH_MD5))
    done = processes.run_ranks(2, processes.script, RECIPE, flags, prepare, cwd=tmp_path)
    assert done.returncodes == [0, 0], done.printed
    assert done.printed.count("val_accuracy:") == 1
    assert done.printed.count("test accuracy") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert document["processes"] == {"world_size": 2, "backend": "gloo", "machines": 1}
    assert document["settings"]["batch_size"] == 50


def accept(md5):
    """Has files of these md5s stand in for the official ones."""
    cifar10_batches.BATCH_MD5.update(md5)


def test_presets_are_the_entries_settings():
    import cifar10_wrn

    one, eight = cifar10_wrn.PRESETS["dawnbench_1gpu"], cifar10_wrn.PRESETS["dawnbench_8gpu"]
    assert (one.epochs, one.batch_size, one.max_lr, one.weight_decay) == (30, 512, 1.5, 1e-4)
    assert (one.div_factor, one.tail_fraction, one.momentum) == (20, 0.2, (0.95, 0.85))
    assert (eight.epochs, eight.batch_size, eight.max_lr, eight.weight_decay) == (40, 1024, 2, 2e-4)
    assert (eight.div_factor, eight.tail_fraction) == (50, 0.125)


def test_a_whole_cifar10_run_writes_a_valid_entry_below_the_threshold(tiny_cifar10, tmp_path):
    """On the files of the test fixture, whose md5s stand in for the official ones."""
    flags = ["--preset=cpu", "--epochs=2", "--batch_size=50", "--dataset=cifar10",
             f"--data_dir={tiny_cifar10}", "--author=Ada", "--output_dir=out"]  # fmt: skip
    done = processes.run(
        RECIPE, *flags, cwd=tmp_path, prepare=partial(accept, dict(cifar10_batches.BATCH_MD5))
    )
    assert done.returncode == 0, done.printed
    assert "threshold not reached" in done.printed
    (json_path,) = (tmp_path / "out").glob("Ada_*.json")
    assert [c.name for c in validate_entry(json_path) if not c.passed] == ["threshold"]
