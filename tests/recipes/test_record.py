"""The record recipe: its runs, its fits, its presets beside the published loops."""

import csv
import dataclasses
import json
from pathlib import Path

import keras_dawn
from keras_dawn import data
from keras_dawn.data import digits

import airbench
import airbench_muon
import cifar10_record
import hiverge
import keras
import numpy as np
import pytest
import record
import torch

from recipe_parts import record_fits
from recipe_parts.record_light import Light
from recipe_parts.record_presets import PRESETS
from tests import processes

RESULTS = Path(record.__file__).parent / "results"
RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_record.py"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    flags = ("--preset=smoke", "--dataset=digits", "--target=20", "--runs=2", "--output_dir=out")
    flags += ("--cudnn_benchmark", "--price_per_hour=0.1", "--price_source=a test")
    done = processes.run(RECIPE, *flags, cwd=folder)
    assert done.returncode == 0, done.printed
    return done.printed, folder / "out"


def test_two_runs_are_told_by_three_clocks(smoke):
    printed, out = smoke
    beside = []
    for seed in (0, 1):
        document = json.loads((out / f"seed{seed}" / "run.json").read_text(encoding="utf-8"))
        assert document["cudnn_benchmark"] is True
        assert document["settings"]["precision"] == "float32"
        clocks = document["clocks"]
        assert 0 < clocks["training"] <= clocks["dawnbench"] < clocks["process"]
        beside.append(clocks["process"] - document["wall_seconds"])
        (record,) = document["epochs"]  # evaluated once, after the last epoch
        assert record["epoch"] == 1 and record["accuracy"] == document["test_accuracy"]
        assert record["training_seconds"] == clocks["dawnbench"]
        with (out / f"seed{seed}" / "history.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert all(0 < float(row["loss"]) < 3 for row in rows)
        rates = [float(row["learning_rate"]) for row in rows]
        assert rates == pytest.approx([0.24 * 7 / 14, 0.24 / 14])  # 8 steps, then 6 of the hardest
    assert abs(beside[1] - beside[0]) < clocks["training"]  # no other run is in a run's clocks
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["runs"] == 2
    assert "without views" in printed


@pytest.mark.parametrize(
    ("gpu", "precision", "preset"),
    [
        (True, "mixed_float16", "gpu"),
        (True, "float32", "gpu"),
        (False, "mixed_bfloat16", "cpu"),
        (False, "float32", "cpu_hardest"),
    ],
)
def test_the_preset_is_the_quickest_of_the_machine_in_its_precision(
    gpu, precision, preset, monkeypatch
):
    monkeypatch.setattr(keras_dawn.precision, "has_gpu", lambda: gpu)
    assert cifar10_record.best_preset(precision) == preset


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--preset=tpu", "auto or one of cpu, cpu_hardest, gpu, gpu_hiverge, smoke"),
        ("--precision=mixed_bfloat16", "--precision must be float32 on the digits"),
        ("--seed=-1", "Seeds go from 0 to 4294967295"),
    ],
)
def test_bad_flags_end_before_training(flag, words, tmp_path):
    done = processes.run(RECIPE, flag, "--dataset=digits", cwd=tmp_path)
    assert done.returncode != 0 and not list(tmp_path.iterdir())
    assert words in done.printed and "Traceback" not in done.printed


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_training_that_ends_in_no_number_is_no_run(loss):
    cifar10_record.check_is_finite(2.3, 0, "float32")
    with pytest.raises(FloatingPointError, match="seed 3 in mixed_bfloat16 ended with a loss of"):
        cifar10_record.check_is_finite(loss, 3, "mixed_bfloat16")


def test_the_fits_follow_each_other_and_the_rate_falls_once_in_all_of_them():
    images = digits.load_digits().subset(300, 10)
    preset = dataclasses.replace(
        PRESETS["smoke"], epochs=9, batch_size=30, hard_from=4, hard_fraction=0.6,
        max_lr=0.9,
    )  # fmt: skip
    fits = record_fits.load(preset, images, 0, data.LossMemory(300))
    assert [(one.epochs, len(one.data)) for one in fits] == [(range(4), 10), (range(4, 9), 6)]
    by_hand = [0.9 * (1 - step / 70) for step in range(70)]  # 4 epochs of 10 steps, 5 of 6
    assert record_fits.values(fits)["learning_rate"] == pytest.approx(by_hand)


def test_the_successors_preset_changes_light_and_learns():
    images = digits.load_digits().subset(120, 10)
    preset = dataclasses.replace(
        PRESETS["gpu_hiverge"], precision="float32", batch_size=30, epochs=6,
        widths=(16, 16, 16), head_lr=0.5, bias_lr=5.0,
    )  # fmt: skip
    memory = data.LossMemory(120)
    model = cifar10_record.compiled_model(preset, images, memory)
    assert model.get_layer("group1_1_activation").activation is keras.activations.silu
    assert model.get_layer("stem_activation").activation is keras.activations.gelu
    (fit,) = record_fits.load(preset, images, 0, memory)
    history = model.fit(fit.data, epochs=6, verbose=0, shuffle=False).history
    assert history["accuracy"][-1] > 0.5 > history["accuracy"][0]


def test_light_is_one_shift_and_one_factor_an_image():
    light = Light(0.2, 0.5)
    random = data.per_image_random.PerImageRandom(0, 0, torch.arange(40))
    images = torch.randn(40, 3, 3, 2)
    changed = light(images, random)
    scale = (changed[:, 0, 0, 0] - changed[:, 1, 1, 1]) / (images[:, 0, 0, 0] - images[:, 1, 1, 1])
    shift = changed[:, 0, 0, 0] / scale - images[:, 0, 0, 0]
    by_hand = (images + shift[:, None, None, None]) * scale[:, None, None, None]
    torch.testing.assert_close(changed, by_hand, rtol=1e-3, atol=1e-3)
    assert 0.5 <= scale.min() < 0.7 and 1.3 < scale.max() <= 1.5
    assert -0.201 <= shift.min() < -0.1 and 0.1 < shift.max() <= 0.201


def test_the_stems_bias_is_trained_for_the_first_epochs_only():
    images = digits.load_digits().subset(90, 10)
    preset = dataclasses.replace(PRESETS["smoke"], batch_size=30, bias_epochs=1)
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


def steps_of_muon(net):
    return airbench_muon.optimizers(net, "float32")


def steps_of_hiverge(net):
    """Without what the preset leaves out: the stem's bias, rarer norms and the filters' decay."""
    torch.nn.init.zeros_(net[0].bias).requires_grad = False
    sgd, muon = hiverge.optimizers(net, "float32", 1000)
    muon.param_groups[0]["decay"] = 0.0
    muon.register_step_pre_hook(lambda *_: setattr(muon, "normalized_at", muon.step_count - 1))
    return [sgd, muon]


@pytest.mark.parametrize(
    ("name", "loop", "make_net", "optimizers"),
    [
        ("cpu", airbench_muon, airbench_muon.MuonNet, steps_of_muon),
        ("gpu_hiverge", hiverge, hiverge.HiveNet, steps_of_hiverge),
    ],
)
def test_a_presets_steps_are_those_of_the_published_loop(name, loop, make_net, optimizers):
    """Three steps in float32 from the same weights; rates of sums over ten images as of means."""
    torch.manual_seed(0)
    net, _ = airbench.place(make_net(), torch.device("cpu"), "float32")
    published = PRESETS[name]
    assert published.shrink == pytest.approx(loop.DECAY, rel=1e-3)
    assert published.bias_lr == pytest.approx(loop.BATCH * loop.BIAS_RATE, rel=1e-3)
    assert published.head_lr == pytest.approx(loop.BATCH * loop.HEAD_RATE * (9 / 256) ** 2, 5e-3)
    smoothing = (hiverge if loop is hiverge else airbench).LABEL_SMOOTHING
    preset = dataclasses.replace(
        published, precision="float32", bias_lr=10 * loop.BIAS_RATE,
        head_lr=10 * loop.HEAD_RATE * (9 / 256) ** 2, shrink=loop.DECAY,
    )  # fmt: skip
    images = digits.load_digits().subset(90, 10)
    images = dataclasses.replace(images, train_images=np.zeros((90, 32, 32, 3), "uint8"))
    model = cifar10_record.compiled_model(preset, images, data.LossMemory(90))
    pixels, labels = torch.randn(3, 10, 3, 32, 32), torch.randint(0, 10, (3, 10))
    net.whiten(pixels[0])
    both = optimizers(net)
    layers = [net[0]] + [net[group][n] for group in (2, 3, 4) for n in (0, 2, 4, 5)]
    ours = [layer for layer in model.layers if layer.weights]
    for layer, theirs in zip(ours, layers, strict=False):
        if isinstance(theirs, torch.nn.Conv2d):
            layer.kernel.assign(theirs.weight.detach().permute(2, 3, 1, 0))
    if preset.bias_epochs:
        ours[0].bias.assign(net[0].bias.detach())
    ours[-1].kernel.assign(net[7].weight.detach().T * 9 / 256)
    model.optimizer.learning_rate = preset.max_lr
    for batch, numbers in zip(pixels, labels, strict=True):
        model.train_on_batch(batch.permute(0, 2, 3, 1), torch.nn.functional.one_hot(numbers, 10))
        loss = torch.nn.functional.cross_entropy(
            net(batch), numbers, label_smoothing=smoothing, reduction="sum"
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
            for value, expected in (
                (layer.beta, theirs.bias), (layer.moving_mean, theirs.running_mean)
            ):  # fmt: skip
                torch.testing.assert_close(
                    value.value.detach(), expected.detach(), rtol=1e-2, atol=1e-3
                )
    torch.testing.assert_close(
        ours[-1].kernel.value.detach() * 256 / 9, net[7].weight.detach().T, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("script", ["cifar10_record", "compare"])
def test_several_processes_of_a_recipe_for_one_end_before_training(script, tmp_path):
    program = processes.Program(
        processes.script, RECIPE.with_name(f"{script}.py"), ("--dataset=digits",), cwd=tmp_path,
        WORLD_SIZE="2", RANK="1",
    )  # fmt: skip
    done = program.wait()
    assert done.returncode != 0 and not list(tmp_path.iterdir())
    assert f"{script} trains in one process" in done.printed and "Traceback" not in done.printed
