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
    for seed in (0, 1):
        document = json.loads((out / f"seed{seed}" / "run.json").read_text(encoding="utf-8"))
        assert document["cudnn_benchmark"] is True
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


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--preset=tpu", "auto or one of cpu, cpu_hardest, gpu, gpu_hiverge, smoke"),
        ("--seed=-1", "Seeds go from 0 to 4294967295"),
    ],
)
def test_bad_flags_end_before_training(flag, words, tmp_path):
    done = processes.run(RECIPE, flag, "--dataset=digits", cwd=tmp_path)
    assert done.returncode != 0 and not list(tmp_path.iterdir())
    assert words in done.printed and "Traceback" not in done.printed


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


def test_settings_that_came_later_are_told_only_where_they_are_not_as_before():
    before = json.loads((RESULTS / "record-cpu_hardest-2026-11-26.json").read_text("utf-8"))
    told = before["settings"].keys() - {"hard_share"} | {"hard_fraction", "sgd_momentum"}
    for name in ("cpu", "cpu_hardest"):
        assert PRESETS[name].settings().keys() == told | {"activation", "light"}
    assert PRESETS["gpu_hiverge"].settings()["stem_activation"] == "gelu"


@pytest.mark.parametrize("loop", [airbench, airbench_muon, hiverge])
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


def test_the_peers_settings_are_the_published_ones(monkeypatch):
    """Steps are rounded up; only biases of normalisation have 64 times the rate of the rest."""
    images = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8)
    steps, net = [], airbench.Net()
    optimizer, _ = airbench.optimizer_and_schedule(net, 100)
    groups = optimizer.param_groups
    rates = {id(p): group["initial_lr"] for group in groups for p in group["params"]}
    kilostep = 1024 * (1 + 1 / 0.15)
    for parameter in net.parameters():
        if parameter.requires_grad:
            of_normalization = parameter.ndim == 1 and parameter is not net[0].bias
            expected = 11.5 / kilostep * (64 if of_normalization else 1)
            assert rates[id(parameter)] == pytest.approx(expected)
    assert not net[0].bias.any()
    for theirs in (airbench_muon.MuonNet(), hiverge.HiveNet()):  # as torch begins a convolution
        assert theirs[0].bias.all() and theirs[0].bias.abs().max() <= 12**-0.5
    loss = airbench.smoothed_loss
    monkeypatch.setattr(airbench, "smoothed_loss", lambda *a: steps.append(1) or loss(*a))
    monkeypatch.setattr(airbench, "BATCH", 20)
    monkeypatch.setattr(airbench, "EPOCHS", 0.6)
    airbench.train((images, torch.arange(40) % 2), (images, torch.arange(40) % 2), 0, "float32")
    assert len(steps) == 2


def test_the_peers_whiten_by_images_that_are_not_flipped():
    pixels = torch.randint(0, 256, (30, 32, 32, 3), dtype=torch.uint8)
    plain = airbench.Loader(pixels, torch.arange(30), False).images
    for loader in (airbench.Loader, hiverge.HiveLoader):
        made = loader(pixels, torch.arange(30), True)
        assert torch.equal(made.first, plain) and not torch.equal(made.images, plain)


@pytest.mark.parametrize("net", [airbench.Net, airbench_muon.MuonNet, hiverge.HiveNet])
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


def test_all_filters_in_one_batch_are_made_orthogonal_as_each_alone(monkeypatch):
    monkeypatch.setattr(airbench_muon, "NEWTON_SCHULZ", hiverge.NEWTON_SCHULZ)
    torch.manual_seed(0)
    shapes = [(64, 24, 3, 3), (16, 4, 3, 3), (64, 2, 3, 3)]  # the last is tall
    filters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    muon = hiverge.BatchedMuon(filters, 0.1, 0.5, 0.0, 100, torch.float32)
    directions = [torch.randn(shape) for shape in shapes]
    for found, direction in zip(muon._orthogonal(directions), directions, strict=True):
        alone = airbench_muon.zeropower(direction.reshape(len(direction), -1), torch.float32)
        torch.testing.assert_close(found.reshape(alone.shape), alone, rtol=1e-4, atol=1e-5)


def test_filters_get_their_norm_at_first_every_second_step_and_later_more_rarely():
    filters = [torch.nn.Parameter(torch.randn(8, 4, 3, 3))]
    muon, set_at = hiverge.BatchedMuon(filters, 0.0, 0.5, 0.0, 100, torch.float32), []
    for step in range(1, 101):
        filters[0].data.mul_(2)
        filters[0].grad = torch.ones_like(filters[0])
        muon.step()
        if abs(filters[0].norm().item() - 8**0.5) < 1e-3:
            set_at.append(step)
    assert set_at[:3] == [2, 4, 6] and set_at[-2:] == [70, 84]  # 2 + int(15 × 0.84) = 14


def test_a_batched_step_is_that_of_the_published_loop_when_norms_are_set(monkeypatch):
    monkeypatch.setattr(airbench_muon, "NEWTON_SCHULZ", hiverge.NEWTON_SCHULZ)
    torch.manual_seed(0)
    ours, theirs = (
        [torch.nn.Parameter(torch.ones(shape).cumsum(0)) for shape in ((8, 3, 3, 3), (6, 8, 3, 3))]
        for _ in range(2)
    )
    batched = hiverge.BatchedMuon(ours, 0.2, 0.6, 0.01, 1000, torch.float32)
    batched.step_count = 1  # so that it sets norms in its first step
    each = airbench_muon.Muon(theirs, 0.2, 0.6, torch.float32)
    for one, other in zip(ours, theirs, strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    batched.step()
    each.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other * (1 - 0.2 * 0.01), rtol=1e-5, atol=1e-5)


def test_the_successors_crops_are_those_of_the_images_brighter_and_with_other_contrast():
    pixels = torch.randint(0, 256, (30, 32, 32, 3), dtype=torch.uint8)
    loader = hiverge.HiveLoader(pixels, torch.arange(30), True, batch_size=30)
    places = {}
    for image, padded in zip(loader.crops(), loader.padded, strict=True):
        for dy in range(5):
            for dx in range(5):
                plain = padded[:, dy : dy + 32, dx : dx + 32].flatten()
                line = torch.stack([plain, torch.ones_like(plain)], 1)
                fit = torch.linalg.lstsq(line, image.flatten()[:, None])
                if (line @ fit.solution)[:, 0].allclose(image.flatten(), atol=1e-4):
                    contrast, shift = fit.solution[:, 0].tolist()
                    places[dy, dx] = (contrast, shift / contrast)
    assert len(places) > 5 and {dy for dy, _ in places} == {dx for _, dx in places} == set(range(5))
    contrasts, shifts = zip(*places.values(), strict=True)
    assert 0.04 < max(abs(c - 1) for c in contrasts) <= hiverge.CONTRAST + 1e-3
    assert 0.04 < max(map(abs, shifts)) <= hiverge.BRIGHTNESS + 1e-3


def test_only_uncertain_images_are_seen_from_six_sides(monkeypatch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    pixels = torch.randint(0, 256, (60, 32, 32, 3), dtype=torch.uint8)
    data = airbench.Loader(pixels, torch.zeros(60, dtype=torch.long), train=False)
    context = torch.autocast("cpu", torch.bfloat16, enabled=False)
    net.eval()
    with torch.no_grad():
        plain = net(data.images)
        padded = torch.nn.functional.pad(data.images, (1,) * 4, "reflect")
        sides = (data.images, padded[:, :, :32, :32], padded[:, :, 2:, 2:])
        six = sum(net(side) + net(side.flip(-1)) for side in sides)
    order = plain.softmax(1).amax(1).argsort()
    for fraction in (0.1, 0.5, 1.0):
        monkeypatch.setattr(hiverge, "UNCERTAIN", fraction)
        answers = plain.argmax(1)
        chosen = order[: int(fraction * 60)]
        answers[chosen] = six[chosen].argmax(1)
        for label in answers.unique().tolist():
            data.labels = torch.full((60,), label)
            expected = [100 * (a == label).sum().item() / 60 for a in (plain.argmax(1), answers)]
            assert hiverge.evaluate(net, data, context) == pytest.approx(expected)
    assert (six.argmax(1) != plain.argmax(1)).any()


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


def test_a_run_goes_to_the_folder_of_the_runs_that_it_continues(tmp_path):
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "run.json").write_text("{}", encoding="utf-8")
    assert record.folder_of_all(tmp_path, {"keras_dawn": [{"seed": 0}], "peer": []}) == tmp_path
    for nothing in ({}, {"keras_dawn": []}):
        with pytest.raises(FileExistsError, match="not an empty folder"):
            record.folder_of_all(tmp_path, nothing)
    assert record.folder_of_all(tmp_path / "new", {}) == tmp_path / "new"


def test_what_a_run_that_was_cut_off_has_left_is_moved_aside(tmp_path):
    for times in (1, 2):
        own = record.folder_of_run(tmp_path / "seed3")
        assert not any(own.path.iterdir())
        own.write_text("history.csv", f"{times}")
    record.folder_of_run(tmp_path / "seed3")
    left = {path.parent.name: path.read_text() for path in tmp_path.rglob("history.csv")}
    assert left == {"seed3_cut_off1": "1", "seed3_cut_off2": "2"}
