"""The record recipe as a user starts it, and its peer."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from keras_dawn import ParameterSchedule, data, schedules
from keras_dawn.data import digits

import cifar10_record
import keras
import numpy as np
import pytest
import record_phases
import torch

from benchmarks import airbench

RECIPE = Path(__file__).parent.parent / "recipes" / "cifar10_record.py"


def run(*flags, cwd):
    return subprocess.run(
        [sys.executable, RECIPE, *flags], capture_output=True, text=True, cwd=cwd, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    flags = ("--preset=smoke", "--dataset=digits", "--target=20", "--runs=2", "--output_dir=out")
    done = run(*flags, "--price_per_hour=0.1", "--price_source=a test", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder / "out"


def test_two_runs_are_told_by_three_clocks(smoke):
    printed, out = smoke
    for seed in (0, 1):
        document = json.loads((out / f"seed{seed}" / "run.json").read_text())
        clocks = document["clocks"]
        assert 0 < clocks["training"] <= clocks["dawnbench"] < clocks["process"]
        (record,) = document["epochs"]  # evaluated once, after the last epoch
        assert record["epoch"] == 1 and record["accuracy"] == document["test_accuracy"]
        assert record["training_seconds"] == clocks["dawnbench"]
        with (out / f"seed{seed}" / "history.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 2
    assert json.loads((out / "summary.json").read_text())["runs"] == 2
    assert "without views" in printed


def test_bad_flags_end_before_training(tmp_path):
    done = run("--preset=tpu", "--dataset=digits", cwd=tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode != 0 and "auto or one of cpu, cpu_hardest, gpu, smoke" in printed


def test_the_phases_follow_each_other_and_the_rate_falls_to_zero_twice():
    images = digits.load_digits().subset(300, 10)
    preset = dataclasses.replace(
        cifar10_record.PRESETS["smoke"], epochs=9, batch_size=30, hard_from=4,
        hard_share=0.6,
    )  # fmt: skip
    phases = record_phases.load(preset, images, 0, data.LossMemory(300))
    assert [(p.first, p.last, len(p.data)) for p in phases] == [(0, 4, 10), (4, 9, 6)]
    falling = ParameterSchedule({"learning_rate": schedules.linear(0.9, 0.0)})
    (rates,) = record_phases.values(falling, phases).values()
    by_hand = [0.9 * (1 - step / 40) for step in range(40)]
    by_hand += [0.9 * (1 - (24 + step) / 54) for step in range(30)]
    assert rates == pytest.approx(by_hand)


def test_the_stems_bias_is_trained_for_the_first_epochs_only():
    images = digits.load_digits().subset(90, 10)
    preset = dataclasses.replace(cifar10_record.PRESETS["smoke"], batch_size=30, bias_epochs=1)
    memory = data.LossMemory(90)
    model = cifar10_record.compiled_model(preset, images, memory)
    phase, *_ = record_phases.load(preset, images, 0, memory)
    stem, biases, kernels = model.get_layer("whitening"), [], []

    class Spy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            biases.append(stem.bias.numpy().copy())
            kernels.append(stem.kernel.numpy().copy())

    model.fit(
        phase.data, epochs=2, verbose=0, shuffle=False,
        callbacks=[cifar10_record.train_bias(model, 1), Spy()],
    )  # fmt: skip
    assert np.abs(biases[0]).max() > 0  # it begins at 0
    assert (biases[0] == biases[1]).all() and (kernels[0] == kernels[1]).all()


def test_the_peers_crops_and_flips_show_all_of_an_image():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (1200, 32, 32, 3), dtype=torch.uint8)
    loader = airbench.Loader(pixels, torch.arange(1200), train=True)
    assert len(loader) == 1
    (images, labels), *rest = list(loader)
    assert images.shape == (1024, 3, 32, 32) and not rest
    whole = airbench.Loader(pixels, torch.arange(1200), train=False).images
    middle = images[:, :, 8:24, 8:24]
    for image, label in list(zip(middle, labels.tolist(), strict=True))[:20]:
        places = [whole[label], whole[label].flip(-1)]
        assert any(
            torch.equal(image, place[:, 8 + dy : 24 + dy, 8 + dx : 24 + dx])
            for place in places
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        )
