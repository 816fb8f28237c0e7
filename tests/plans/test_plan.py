import itertools

from keras_dawn import PLANS, Phase, TrainingPlan, one_cycle_by_size
from keras_dawn.plans import Crops

import pytest

IMAGES = 1_281_167


def fastai_rate(epoch, lr=0.4, epochs=45):
    """`adjust_learning_rate` of fast.ai's entry, by its description."""
    if epoch < 4:
        return lr / (4 - epoch)
    if epoch < int(0.47 * epochs + 0.5):
        return lr
    if epoch < int(0.78 * epochs + 0.5):
        return lr / 10
    return lr / 100 if epoch < int(0.95 * epochs + 0.5) else lr / 1000


def test_fast_ais_plan_is_the_entrys_in_all_45_epochs():
    plan = PLANS["fastai_8gpu"]
    assert plan.epochs == 45
    for epoch in range(45):
        phase = plan.phase_at(epoch)
        size = 128 if epoch < int(45 * 0.4 + 0.5) else 224 if epoch < int(45 * 0.92 + 0.5) else 288
        assert phase.image_size == phase.evaluated_at == size
        assert phase.batch_size == 8 * (128 if size == 288 else 192)
        assert phase.learning_rate == pytest.approx(fastai_rate(epoch))
        assert phase.crops.scale == ((0.5, 1.0) if size == 288 else (0.08, 1.0))
        assert phase.crops.copies == (160 if size == 128 else None)
        assert (phase.momentum, phase.weight_decay) == (0.9, 1e-4)


# (first epoch, pixels, images a GPU, rate at the start, rate at the end)
ONE_MACHINE = [
    (0, 128, 512, 1.0, 2.0), (5, 128, 512, 1.0, 1.0), (14, 224, 224, 0.4375, 0.4375),
    (16, 224, 224, 0.04375, 0.04375), (27, 224, 224, 0.004375, 0.004375),
    (32, 288, 128, 0.0025, 0.0025), (33, 288, 128, 0.00025, 0.00025),
]  # fmt: skip


def test_imagenet18_on_one_machine_is_the_published_schedule():
    plan = PLANS["imagenet18_1"]
    assert plan.epochs == 35
    values = plan.values(IMAGES)
    step = 0
    ends = [first for first, *_ in ONE_MACHINE[1:]] + [35]
    for (first, size, per_gpu, start, end), last in zip(ONE_MACHINE, ends, strict=True):
        steps = (last - first) * (IMAGES // (8 * per_gpu))
        rates = values["learning_rate"][step : step + steps]
        assert set(values["image_size"][step : step + steps]) == {size}
        assert set(values["batch_size"][step : step + steps]) == {8 * per_gpu}
        assert rates[0] == pytest.approx(start)
        assert rates[-1] == pytest.approx(start + (end - start) * (steps - 1) / steps)
        step += steps
    assert step == len(values["learning_rate"])
    assert [plan.phase_at(epoch).validation.rectangular for epoch in (31, 32)] == [False, True]
    assert plan.phase_at(20).crops == Crops((0.087, 1.0), copies=352)


@pytest.mark.parametrize("machines, batches", [(4, (8192, 16384, 7168, 4096)),
                                               (8, (8192, 16384, 14336, 8192)),
                                               (16, (8192, 16384, 24576, 16384))])  # fmt: skip
def test_larger_clusters_have_their_batch_sizes_and_rates_near_the_linear_rule(machines, batches):
    plan = PLANS[f"imagenet18_{machines}"]
    assert set(batches) <= {phase.batch_size for phase in plan.phases}
    highest = max(max(plan.values(IMAGES)["learning_rate"]), 0)
    assert highest == pytest.approx({4: 4.0, 8: 3.84, 16: 3.76}[machines], rel=0.01)


@pytest.mark.parametrize("epochs", [18, 32])
def test_modern_plans_rise_for_two_epochs_and_fall_to_nothing(epochs):
    plan = PLANS[f"modern_{epochs}"]
    rates = plan.values(IMAGES)["learning_rate"]
    steps = IMAGES // 4096
    assert plan.epochs == epochs and len(rates) == epochs * steps
    assert rates.index(max(rates)) == 2 * steps and max(rates) == pytest.approx(1.7)
    falling = rates[2 * steps :]
    differences = [a - b for a, b in itertools.pairwise(falling)]
    assert differences == pytest.approx([1.7 / ((epochs - 2) * steps)] * len(differences))
    assert plan.phase_at(epochs - 1).image_size == 192


def test_a_plan_for_one_of_eight_gpus_has_an_eighth_of_batch_and_rate():
    plan = PLANS["fastai_8gpu"].scaled(1 / 8)
    assert plan.phases[3].batch_size == 192 and plan.phases[3].learning_rate == 0.05
    with pytest.raises(ValueError, match="not whole"):
        TrainingPlan([Phase(1, 32, 10, 0.1)]).scaled(1 / 4)


def test_one_cycle_by_size_is_one_triangle_whatever_the_sizes():
    whole = one_cycle_by_size({0.0: 64}, 10, 50, 0.4)
    resized = one_cycle_by_size({0.0: 32, 0.3: 48, 0.8: 64}, 10, 50, 0.4)
    assert resized.values(500)["learning_rate"] == pytest.approx(whole.values(500)["learning_rate"])
    sizes = resized.values(500)["image_size"]
    assert [sizes[10 * e] for e in range(10)] == [32, 32, 32, 48, 48, 48, 48, 48, 64, 64]
    with pytest.raises(ValueError, match=r"begin at 0\.0"):
        one_cycle_by_size({0.5: 64}, 10, 50, 0.4)


def test_costs_count_images_pixels_and_time():
    plan = TrainingPlan([Phase(2, 16, 10, 0.1), Phase(1, 32, 30, 0.1)])
    first, second = plan.costs(100, flops_per_pixel=5.0, images_per_second={16: 50, 32: 10})
    assert (first.images, first.pixels, first.flops) == (200, 200 * 256, 3 * 200 * 256 * 5)
    assert (second.images, first.seconds, second.seconds) == (90, 4.0, 9.0)
    with pytest.raises(ValueError, match="32 px"):
        plan.costs(100, 5.0, {16: 50})
    assert plan.costs(100, 5.0)[0].seconds is None
    with pytest.raises(ValueError, match="make no batch of 30"):
        plan.costs(20, 5.0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"epochs": 0}, "epochs"),
        ({"image_size": 1.5}, "image_size"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": (0.1, float("nan"))}, "learning_rate"),
        ({"learning_rate": (0.1, 5.0, 0.3)}, "learning_rate"),
        ({"learning_rate": (0.1,)}, "learning_rate"),
        ({"momentum": (0.9, 1.0)}, "below 1"),
        ({"crops": Crops(copies=16)}, "short side of 16"),
    ],
)
def test_a_phase_that_makes_no_sense_is_refused(arguments, words):
    settings = {"epochs": 1, "image_size": 32, "batch_size": 8, "learning_rate": 0.1}
    with pytest.raises(ValueError, match=words):
        Phase(**{**settings, **arguments})


def test_a_crop_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="`scale` must be"):
        Crops((0.5, 0.1))


def test_a_plan_is_checked_as_a_whole():
    with pytest.raises(ValueError, match="list of Phase"):
        TrainingPlan([])
    with pytest.raises(ValueError, match="momentum"):
        TrainingPlan([Phase(1, 8, 1, 0.1), Phase(1, 8, 1, 0.1, momentum=0.9)])
    with pytest.raises(ValueError, match="epochs 0 to 44"):
        PLANS["fastai_8gpu"].phase_at(45)


def test_a_plan_prints_and_draws_itself(tmp_path):
    text = str(PLANS["imagenet18_1"])
    assert "33–34   288  1024" in text and "rectangles of 288" in text and "1 → 2" in text
    figure = PLANS["imagenet18_1"].plot(tmp_path / "plan.png")
    assert len(figure.axes) == 5 and (tmp_path / "plan.png").stat().st_size > 10_000
