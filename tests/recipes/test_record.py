"""The record recipe and its peer."""

import csv
import dataclasses
import json
from pathlib import Path

from keras_dawn import data
from keras_dawn.data import digits

import airbench
import airbench_muon
import cifar10_record
import keras
import numpy as np
import pytest
import record
import torch

from recipe_parts import record_fits
from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_record.py"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    flags = ("--preset=smoke", "--dataset=digits", "--target=20", "--runs=2", "--output_dir=out")
    done = processes.run(
        RECIPE, *flags, "--price_per_hour=0.1", "--price_source=a test", cwd=folder
    )
    assert done.returncode == 0, done.printed
    return done.printed, folder / "out"


def test_two_runs_are_told_by_three_clocks(smoke):
    printed, out = smoke
    for seed in (0, 1):
        document = json.loads((out / f"seed{seed}" / "run.json").read_text(encoding="utf-8"))
        clocks = document["clocks"]
        assert 0 < clocks["training"] <= clocks["dawnbench"] < clocks["process"]
        (record,) = document["epochs"]  # evaluated once, after the last epoch
        assert record["epoch"] == 1 and record["accuracy"] == document["test_accuracy"]
        assert record["training_seconds"] == clocks["dawnbench"]
        with (out / f"seed{seed}" / "history.csv").open(encoding="utf-8") as file:
            rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
        assert rates == pytest.approx([0.24 * 7 / 14, 0.24 / 14])  # 8 steps, then 6 of the hardest
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["runs"] == 2
    assert "without views" in printed


def test_bad_flags_end_before_training(tmp_path):
    done = processes.run(RECIPE, "--preset=tpu", "--dataset=digits", cwd=tmp_path)
    assert done.returncode != 0
    assert "auto or one of cpu, cpu_hardest, gpu, smoke" in done.printed


def test_the_fits_follow_each_other_and_the_rate_falls_once_in_all_of_them():
    images = digits.load_digits().subset(300, 10)
    preset = dataclasses.replace(
        cifar10_record.PRESETS["smoke"], epochs=9, batch_size=30, hard_from=4, hard_fraction=0.6,
        max_lr=0.9,
    )  # fmt: skip
    fits = record_fits.load(preset, images, 0, data.LossMemory(300))
    assert [(one.epochs, len(one.data)) for one in fits] == [(range(4), 10), (range(4, 9), 6)]
    by_hand = [0.9 * (1 - step / 70) for step in range(70)]  # 4 epochs of 10 steps, 5 of 6
    assert record_fits.values(fits)["learning_rate"] == pytest.approx(by_hand)


def test_the_stems_bias_is_trained_for_the_first_epochs_only():
    images = digits.load_digits().subset(90, 10)
    preset = dataclasses.replace(cifar10_record.PRESETS["smoke"], batch_size=30, bias_epochs=1)
    memory = data.LossMemory(90)
    model = cifar10_record.compiled_model(preset, images, memory)
    one, *_ = record_fits.load(preset, images, 0, memory)
    stem, biases, kernels = model.get_layer("whitening"), [], []

    class Spy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            biases.append(stem.bias.numpy().copy())
            kernels.append(stem.kernel.numpy().copy())

    model.fit(
        one.data, epochs=2, verbose=0, shuffle=False,
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


def test_the_recipes_steps_are_those_of_the_published_loop_with_muon():
    """Three steps in float32 from the same weights."""
    torch.manual_seed(0)
    net, _ = airbench_muon.place(airbench_muon.MuonNet(), torch.device("cpu"), "float32")
    images = digits.load_digits().subset(90, 10)
    preset = dataclasses.replace(
        cifar10_record.RecordPreset(), precision="float32", max_lr=airbench_muon.FILTER_RATE,
        bias_lr=10 * airbench_muon.BIAS_RATE,
        head_lr=10 * airbench_muon.HEAD_RATE * (9 / 256) ** 2,
        shrink=airbench_muon.DECAY,
    )  # fmt: skip
    images = dataclasses.replace(images, train_images=np.zeros((90, 32, 32, 3), "uint8"))
    model = cifar10_record.compiled_model(preset, images, data.LossMemory(90))
    pixels, labels = torch.randn(3, 10, 3, 32, 32), torch.randint(0, 10, (3, 10))
    net.whiten(pixels[0])
    layers = [net[0]] + [net[group][n] for group in (2, 3, 4) for n in (0, 2, 4, 5)]
    ours = [layer for layer in model.layers if layer.weights]
    for layer, theirs in zip(ours, layers, strict=False):
        if isinstance(theirs, torch.nn.Conv2d):
            layer.kernel.assign(theirs.weight.detach().permute(2, 3, 1, 0))
    ours[-1].kernel.assign(net[7].weight.detach().T * 9 / 256)
    model.optimizer.learning_rate = preset.max_lr
    both = airbench_muon.optimizers(net, "float32")
    for batch, numbers in zip(pixels, labels, strict=True):
        model.train_on_batch(batch.permute(0, 2, 3, 1), torch.nn.functional.one_hot(numbers, 10))
        loss = torch.nn.functional.cross_entropy(
            net(batch), numbers, label_smoothing=preset.label_smoothing, reduction="sum"
        )
        net.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in both:
            optimizer.step()
    for layer, theirs in zip(ours, layers, strict=False):
        if isinstance(theirs, torch.nn.Conv2d):
            expected = theirs.weight.detach().permute(2, 3, 1, 0)
            torch.testing.assert_close(layer.kernel.value.detach(), expected, rtol=0, atol=2e-3)
        else:
            torch.testing.assert_close(
                layer.beta.value.detach(), theirs.bias.detach(), rtol=1e-2, atol=1e-3
            )
    torch.testing.assert_close(
        ours[-1].kernel.value.detach() * 256 / 9, net[7].weight.detach().T, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("loop", [airbench, airbench_muon])
def test_the_peers_learn_what_they_are_shown(loop, monkeypatch):
    monkeypatch.setattr(loop, "BATCH", 20)
    monkeypatch.setattr(loop, "EPOCHS", 3)
    labels = torch.arange(40) % 2
    pixels = torch.randint(0, 100, (40, 32, 32, 3), dtype=torch.uint8)
    pixels[labels == 1, :, :, 0] += 100
    told = []
    result = loop.train((pixels, labels), (pixels, labels), 0, "float32", told.append)
    assert result["seconds"] > 0 and len(told) == 3
    losses = [float(line.split()[-1]) for line in told]
    assert losses[-1] < losses[0] and result["accuracy"] > 60


@pytest.mark.parametrize("net", [airbench.Net, airbench_muon.MuonNet])
def test_the_peers_compute_in_the_precision_they_are_told(net):
    device = torch.device("cpu")
    for policy, weights, autocast in (
        ("float32", torch.float32, False),
        ("mixed_bfloat16", torch.float32, True),
        ("mixed_float16", torch.float16, False),
    ):
        placed, context = airbench.place(net(), device, policy)
        convolution, normalization = placed[2][0], placed[2][2]
        assert convolution.weight.dtype == weights == airbench.image_dtype(policy)
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert normalization.weight.dtype == normalization.running_mean.dtype == torch.float32
        with context:
            assert torch.is_autocast_enabled("cpu") == autocast
        assert not autocast or context.fast_dtype == torch.bfloat16


def test_a_results_file_of_the_benchmark_is_continued_unless_it_is_of_another_machine(tmp_path):
    file = tmp_path / "record.json"
    document = {
        "settings": {"sizes": {0: 24}, "widths": (64, (112, 256))},
        "versions": {"torch": "2.11"},
        "hardware": {"processor": "A", "cores": 2},
    }
    assert record.earlier_runs(file, document) == {}
    runs = {"keras_dawn": [{"seed": 0}]}
    file.write_text(json.dumps({**document, "runs": runs}), encoding="utf-8")
    assert record.earlier_runs(file, document) == runs
    with pytest.raises(ValueError, match=r"other hardware \(processor: A, here B\).*another"):
        record.earlier_runs(file, {**document, "hardware": {"processor": "B", "cores": 2}})
    for content in ("[]", "{}", "{", '{"settings": []}'):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match="not a results file of this benchmark"):
            record.earlier_runs(file, document)
