"""The recipe of the board of Imagewoof and Imagenette."""

import json
from pathlib import Path

import imagewoof
import keras
import pytest

from recipe_parts.photo_network import ADAMW, build_network, build_optimizer
from tests import processes
from tests.on_device import torch
from tests.recipes.killed import whole_and_cut

RECIPE = Path(__file__).parents[2] / "recipes" / "imagewoof.py"


def run(*flags, cwd):
    done = processes.run(RECIPE, *flags, cwd=cwd)
    return done.returncode, done.printed


@pytest.mark.parametrize("name", ["board", "small"])
def test_presets_keep_the_rules_of_the_board(name):
    preset = imagewoof.PRESETS[name]
    assert preset.plan.epochs == 5 and preset.train_images is preset.val_images is None
    for phase in preset.plan.phases:
        assert phase.image_size == 128 and phase.evaluated_at <= 128


def test_the_rate_rises_stays_and_falls_by_a_cosine():
    rates = imagewoof.plan(64, 8e-3).values(64 * 8)["learning_rate"]  # 40 steps
    assert rates[:10] == pytest.approx([8e-4 * step for step in range(10)])
    assert rates[10:30] == [8e-3] * 20
    torchs = torch.optim.SGD([torch.zeros(1)], 8e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(torchs, 10)
    for rate in rates[30:]:
        assert rate == pytest.approx(torchs.param_groups[0]["lr"])
        torchs.step()
        falling.step()


@pytest.fixture(scope="module")
def network():
    return build_network(imagewoof.PRESETS["smoke"], 3)


def test_the_optimizer_steps_as_torchs_and_decays_no_scales_and_biases(network):
    optimizer = build_optimizer(imagewoof.PRESETS["smoke"])
    variables = network.trainable_variables
    optimizer.build(variables)
    optimizer.learning_rate = 0.01
    ours, copies = variables[:3], [v.value.detach().clone() for v in variables]
    assert [v.name for v in ours] == ["kernel", "gamma", "beta"]
    decays = [ADAMW["weight_decay"], 0.0, 0.0]
    theirs = torch.optim.AdamW(
        [{"params": [p], "weight_decay": w} for p, w in zip(copies, decays, strict=False)],
        lr=0.01, betas=(ADAMW["beta_1"], ADAMW["beta_2"]), eps=ADAMW["epsilon"],
    )  # fmt: skip
    for _ in range(3):
        # Away from 0, where Keras's epsilon is another one in the first steps.
        gradients = [torch.randn_like(copy).sign() + 0.3 * torch.rand_like(copy) for copy in copies]
        optimizer.apply(gradients, variables)
        for copy, gradient in zip(copies, gradients, strict=True):
            copy.grad = gradient
        theirs.step()
    for variable, copy in zip(ours, copies, strict=False):
        assert torch.allclose(variable.value, copy, rtol=2e-5, atol=2e-6)


def test_mish_and_averages_are_in_the_networks_that_have_them(network):
    kinds = {type(layer) for layer in network.layers}
    assert keras.layers.Activation in kinds and keras.layers.ReLU not in kinds
    assert keras.layers.AveragePooling2D in kinds


@pytest.mark.parametrize(
    "flags, words",
    [(["--preset=huge"], "board, small, smoke"), (["--plan=modern_18"], "plan")],
)
def test_flags_that_are_not_this_recipes_end_before_training(flags, words, tmp_path):
    code, output = run(*flags, cwd=tmp_path)
    assert code != 0 and words in output and "Traceback" not in output


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_like_an_unbroken_one(tmp_path):
    flags = ["--preset=smoke", "--checkpoint_steps=3", "--precision=float32"]
    whole, cut = whole_and_cut(RECIPE, flags, tmp_path)
    document = json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))
    assert document["target_on"] == "accuracy" and document["target_accuracy"] == imagewoof.BOARD
    assert document["settings"]["lookahead"] and document["settings"]["activation"] == "mish"
    assert whole["epoch"] == cut["epoch"] == 2
    pairs = zip(whole["variables"], cut["variables"], strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
