"""Published plans, step by step, against the 2018 code's values by their description."""

import dataclasses
import itertools
import math

import keras_dawn
from keras_dawn import PLANS
from keras_dawn.optimizers.patterns import matches
from keras_dawn.plans import Crops, Validation

import imagenet_resnet50
import keras
import numpy as np
import pytest

from recipe_parts import photo_network

IMAGES = 1_281_167
PHOTOS_160, PHOTOS_352 = Crops(copies=160), Crops((0.087, 1.0), copies=352)
WHOLE, HALF = Crops((0.08, 1.0)), Crops((0.5, 1.0))


def fastai_rate(epoch, lr=0.4, epochs=45):
    """`adjust_learning_rate` of fast.ai's entry, by its description."""
    if epoch < 4:
        return lr / (4 - epoch)
    if epoch < int(0.47 * epochs + 0.5):
        return lr
    if epoch < int(0.78 * epochs + 0.5):
        return lr / 10
    return lr / 100 if epoch < int(0.95 * epochs + 0.5) else lr / 1000


def fastai_phases():
    """One row an epoch: its first epoch, pixels, images a GPU, rates, crops."""
    for epoch in range(45):
        rates = (fastai_rate(epoch),) * 2
        if epoch < int(45 * 0.4 + 0.5):
            yield epoch, 128, 192, rates, PHOTOS_160
        elif epoch < int(45 * 0.92 + 0.5):
            yield epoch, 224, 192, rates, WHOLE
        else:
            yield epoch, 288, 128, rates, HALF


def small(first, per_gpu, *rates):
    """A row of imagenet18 at 128 px, on copies of 160."""
    return first, 128, per_gpu, rates, PHOTOS_160


def middle(first, per_gpu, *rates, crops=PHOTOS_352):
    """At 224 px, on copies of 352, or on the originals (`crops=WHOLE`)."""
    return first, 224, per_gpu, rates, crops


def large(first, per_gpu, *rates):
    """At 288 px, on the originals, validated on rectangles."""
    return first, 288, per_gpu, rates, HALF


ONE, FOUR, EIGHT, SIXTEEN = 1.0, 0.5 * 4, 0.24 * 8, 0.235 * 8  # the rate `lr` of each
PUBLISHED = {  # name: (machines, epochs, rows from their first epoch); rates at a row's start, end
    "fastai_8gpu": (1, 45, list(fastai_phases())),
    "imagenet18_1": (1, 35, [
        small(0, 512, ONE, 2 * ONE), small(5, 512, ONE, ONE),
        middle(14, 224, ONE * 0.4375, ONE * 0.4375, crops=WHOLE),
        middle(16, 224, ONE / 10 * 0.4375, ONE / 10 * 0.4375, crops=WHOLE),
        middle(27, 224, ONE / 100 * 0.4375, ONE / 100 * 0.4375, crops=WHOLE),
        large(32, 128, ONE / 100 * 0.25, ONE / 100 * 0.25),
        large(33, 128, ONE / 1000 * 0.25, ONE / 1000 * 0.25),
    ]),
    "imagenet18_4": (4, 30, [
        small(0, 256, FOUR, 2 * FOUR), small(6, 512, 2 * FOUR, 2 * FOUR),
        small(11, 512, 2 * FOUR, FOUR), middle(13, 224, FOUR * 0.875, FOUR * 0.875),
        middle(16, 224, FOUR * 0.875, FOUR / 10 * 0.875),
        middle(23, 224, FOUR / 10 * 0.875, FOUR / 100 * 0.875),
        large(28, 128, FOUR / 100 * 0.5, FOUR / 1000 * 0.5),
    ]),
    "imagenet18_8": (8, 35, [
        small(0, 128, EIGHT, 2 * EIGHT), small(6, 256, 2 * EIGHT, 2 * EIGHT),
        small(11, 256, 2 * EIGHT, EIGHT), middle(14, 128, EIGHT, EIGHT),
        middle(17, 224, EIGHT, 0.336), middle(23, 224, 0.336, 0.0336),
        large(29, 128, 0.0192, 0.00192),
    ]),
    "imagenet18_16": (16, 39, [
        small(0, 64, SIXTEEN, 2 * SIXTEEN), small(6, 128, 2 * SIXTEEN, 2 * SIXTEEN),
        middle(16, 64, SIXTEEN, SIXTEEN, crops=WHOLE),
        middle(19, 192, *[2 * SIXTEEN / (10 / 1.5)] * 2, crops=WHOLE),
        middle(31, 192, *[2 * SIXTEEN / (100 / 1.5)] * 2, crops=WHOLE),
        large(37, 128, *[2 * SIXTEEN / 100] * 2), large(38, 128, *[2 * SIXTEEN / 1000] * 2),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_step_of_a_published_plan_has_the_2018_codes_values(name):
    """Rate, momentum, decay, size and batch of each step; crops and validation of each epoch.

    Where the rate moves, the code sets that of the step after: so ours lie up to a step behind.
    """
    machines, epochs, rows = PUBLISHED[name]
    plan, values = PLANS[name], PLANS[name].values(IMAGES)
    assert plan.epochs == epochs
    expected = {key: [] for key in ("momentum", "weight_decay", "image_size", "batch_size")}
    assert set(values) == {"learning_rate", *expected}
    rates = iter(values["learning_rate"])
    ends = [first for first, *_ in rows[1:]] + [epochs]
    for (first, size, per_gpu, (start, end), crops), last in zip(rows, ends, strict=True):
        batch, ranks = 8 * machines * per_gpu, 8 * machines
        steps = IMAGES // batch  # an epoch
        for key, value in (("momentum", 0.9), ("weight_decay", 1e-4), ("image_size", size),
                           ("batch_size", batch)):  # fmt: skip
            expected[key] += [value] * ((last - first) * steps)
        # The code keeps the last, smaller batch of an epoch.
        published = math.ceil(math.ceil(IMAGES / ranks) / per_gpu)
        assert published == steps + 1
        change = (end - start) / ((last - first) * published)
        for epoch, step in itertools.product(range(last - first), range(steps)):
            ahead = start + (epoch * published + step + 1) * change
            behind = ahead - next(rates)
            lowest, highest = sorted((0.0, change))
            assert lowest - 1e-9 <= behind <= highest + 1e-9, (first + epoch, step)
            assert abs(behind) < 0.007 * ahead, (first + epoch, step)
        for epoch in range(first, last):
            phase = plan.phase_at(epoch)
            assert phase.crops == crops, epoch
            rectangular = size == 288 and name != "fastai_8gpu"
            assert phase.validation == Validation(rectangular=rectangular), epoch
            assert phase.evaluated_at == size
    assert next(rates, None) is None
    for key, wanted in expected.items():
        assert values[key] == wanted, key


@pytest.mark.parametrize("epochs, at_160", [(18, 14), (32, 25)])
def test_modern_plans_rise_for_two_epochs_and_fall_to_nothing(epochs, at_160):
    plan = PLANS[f"modern_{epochs}"]
    rates = plan.values(IMAGES)["learning_rate"]
    steps = IMAGES // 4096
    assert plan.epochs == epochs and len(rates) == epochs * steps
    # FFCV's are the points of one triangle, from 1e-4 of its height.
    wanted = np.interp(np.arange(epochs * steps) / steps, [0, 2, epochs], [1.7e-4, 1.7, 0])
    assert rates == pytest.approx(wanted)
    sizes = [plan.phase_at(epoch).image_size for epoch in range(epochs)]
    assert sizes == [160] * at_160 + [192] * (epochs - at_160)
    assert {phase.evaluated_at for phase in plan.phases} == {256}


def test_32_modern_epochs_grow_where_ffcvs_do():
    """From 160 px after epoch 23 to 192 at 27, rounded to a multiple of 32, halves to even ones."""
    sizes = np.round(np.interp(np.arange(32), [23, 27], [160, 192]) / 32) * 32
    assert [PLANS["modern_32"].phase_at(epoch).image_size for epoch in range(32)] == sizes.tolist()


def test_only_batch_normalisation_is_spared_from_decay_and_nothing_in_the_entry():
    """imagenet18's code splits off the parameters of its normalisations; FFCV's goes by names."""
    model = keras_dawn.models.ResNet(18, classes=10)
    norms = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    of_norms = {id(variable) for norm in norms for variable in (norm.gamma, norm.beta)}
    for name in PLANS.keys() - {"small_128"}:
        patterns = imagenet_resnet50.PRESETS[name].no_decay
        spared = {id(each) for each in model.trainable_variables if matches(patterns, each)}
        assert spared == (set() if name == "fastai_8gpu" else of_norms), name


def test_networks_begin_as_published():
    """imagenet18 has `--init-bn0` (Goyal et al. 2017), the entry what torchvision has."""
    ends = {"fastai_8gpu": (1.0, (3 * 512) ** -0.5), "imagenet18_1": (0.0, 0.01)}
    for name, (scale, deviation) in ends.items():
        preset = dataclasses.replace(imagenet_resnet50.PRESETS[name], model="resnet18")
        model = photo_network.build_network(preset, 1000)
        kernel = model.get_layer("predictions").kernel.numpy()
        assert kernel.std() == pytest.approx(deviation, rel=0.01), name
        assert abs(kernel.mean()) < 0.01 * deviation, name
        assert (model.get_layer("layer3_1_bn2").gamma.numpy() == scale).all(), name
        assert (model.get_layer("layer3_1_bn1").gamma.numpy() == 1).all(), name
