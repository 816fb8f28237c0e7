"""The other CIFAR-10 recipes: they run, and their steps are the references'."""

import json
from pathlib import Path

import pytest

from tests import processes

RECIPES = Path(__file__).parents[2] / "recipes"
RUNS = {
    "cifar10_preact_resnet18": ("cifar10_preact_resnet", "--depth=18"),
    "cifar10_preact_resnet50": ("cifar10_preact_resnet", "--depth=50"),
    "cifar10_concat_pool": ("cifar10_concat_pool",),
    "cifar10_resnet9": ("cifar10_resnet9",),
}

SCALES = {  # of the loss, in 2018
    "cifar10_preact_resnet18": "static, 256",
    "cifar10_preact_resnet50": "not stated",
    "cifar10_concat_pool": "│ none ",
    "cifar10_resnet9": "none: the loss is a sum",
}

DEEP = pytest.param("cifar10_preact_resnet50", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [DEEP if "50" in name else name for name in RUNS])
def test_the_smoke_preset_runs(name, tmp_path):
    script, *flags = RUNS[name]
    done = processes.run(
        RECIPES / f"{script}.py", *flags, "--preset=smoke", "--dataset=digits", "--output_dir=out",
        "--epochs=1", "--precision=float32", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.printed
    document = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "finished" and document["recipe"] == name
    assert SCALES[name] in done.printed and "static, 512" not in done.printed
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"schedule.png", "history.csv"}


def test_the_concat_pool_entrys_rate_is_its_linear_cycle_in_every_step():
    import cifar10_concat_pool

    preset = cifar10_concat_pool.PRESETS["entry"]
    steps = 391
    rates = preset.schedule().values(40, steps)["learning_rate"]
    for step in range(0, 40 * steps, 7):
        epoch = step / steps
        if epoch < 15:
            expected = 0.2 * epoch / 30
        elif epoch <= 30:
            expected = 0.005 + 0.2 * (30 - epoch) / 30
        elif epoch <= 35:
            expected = 0.005 * (35 - epoch) / 5
        else:
            expected = 0.0005
        assert rates[step] == pytest.approx(expected, abs=1e-12)
    assert preset.nesterov and preset.momentum == (0.9,) and preset.weight_decay == 5e-4


def test_resnet9s_rate_is_pages_triangle():
    import cifar10_resnet9
    import numpy as np

    rates = cifar10_resnet9.PRESETS["entry"].schedule().values(24, 98)["learning_rate"]
    expected = np.interp(np.arange(24 * 98) / 98, [0, 5, 24], [0, 0.4, 0])
    assert rates == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize(
    "depth, settings",
    [
        (50, (60, 512, 1.0, 20, 0.18, 2e-4, (0.95, 0.85))),
        (18, (65, 512, 1.2, 30, 0.2, 2e-4, (0.95, 0.85))),
    ],
)
def test_the_notebooks_settings_are_theirs(depth, settings):
    import cifar10_preact_resnet

    preset = cifar10_preact_resnet.presets(depth)["notebook"]
    assert settings == (
        preset.epochs, preset.batch_size, preset.max_lr, preset.div_factor, preset.tail_fraction,
        preset.weight_decay, preset.momentum,
    )  # fmt: skip
