from keras_dawn import PLANS, Phase, TrainingPlan, one_cycle_by_size, schedules
from keras_dawn.data.photos import RandomResizedCrop
from keras_dawn.plans import Crops

import numpy as np
import pytest

IMAGES = 1_281_167


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
    for epochs in (0, -2, 2.5, "4"):
        with pytest.raises(ValueError, match=r"`epochs` must be a whole number from 1 up"):
            one_cycle_by_size({0.0: 64}, epochs, 50, 0.4)


def test_pixels_to_validate_at_may_be_numpys():
    assert Phase(1, 16, 8, 0.1, validation=np.int64(24)).evaluated_at == 24
    for settings in ({"validation": "24"}, {"validation": 24.0}, {"crops": (0.5, 1.0)}):
        with pytest.raises(ValueError, match="a Validation, and `crops` Crops"):
            Phase(1, 16, 8, 0.1, **settings)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_epochs_that_leave_a_size_out_are_refused(epochs):
    with pytest.raises(ValueError, match="too few for sizes at 0.0, 0.5, 0.85"):
        one_cycle_by_size({0.0: 64, 0.5: 96, 0.85: 128}, epochs, 8, 0.4)
    assert len(one_cycle_by_size({0.0: 64, 0.5: 96, 0.85: 128}, 4, 8, 0.4).phases) == 4
    with pytest.raises(ValueError, match="`warm_up`"):
        one_cycle_by_size({0.0: 64}, epochs, 8, 0.4, warm_up=0.9)


def test_a_phase_may_follow_any_curve_of_its_own_progress():
    flat = schedules.flat_cosine(0.4, 0.0, 0.5)
    plan = TrainingPlan(
        [Phase(2, 16, 10, (0.0, 0.4)), Phase(4, 16, 10, flat)], "some", "for a test"
    )
    rates = plan.values(50)["learning_rate"]
    assert rates[:10] == pytest.approx([0.04 * step for step in range(10)])
    assert rates[10:20] == [0.4] * 10
    assert rates[20:] == pytest.approx([schedules.cosine(0.4, 0.0)(n / 10) for n in range(10)])
    ends = [(each[0], each[-1]) for each in plan.by_epoch()["learning_rate"][3:]]
    assert ends == [(0.4, 0.4), (0.4, pytest.approx(0.2)), (pytest.approx(0.2), 0.0)]
    half = plan.scaled(0.5)
    assert half.phases[1].learning_rate(0.0) == 0.2
    assert half.values(25)["learning_rate"][-1] == pytest.approx(rates[-1] / 2)
    assert "curve 0.4 → 0.4 → 0" in str(plan)


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
        ({"learning_rate": schedules.cosine(0.1, -0.1)}, "learning_rate"),
        (
            {
                "learning_rate": schedules.combine(
                    [0.5, 0.5], [schedules.linear(0.1, -0.1), schedules.constant(0.1)]
                )
            },
            "curve",
        ),
        ({"momentum": (0.9, 1.0)}, "below 1"),
        ({"momentum": schedules.linear(0.9, 1.0)}, "below 1"),
        ({"crops": Crops(copies=16)}, "short side of 16"),
    ],
)
def test_a_phase_that_makes_no_sense_is_refused(arguments, words):
    settings = {"epochs": 1, "image_size": 32, "batch_size": 8, "learning_rate": 0.1}
    with pytest.raises(ValueError, match=words):
        Phase(**{**settings, **arguments})


@pytest.mark.parametrize("scale", [(0.5, 0.1), 0.3, ("a", 1.0), (0.1, 0.5, 1.0)])
@pytest.mark.parametrize("kind", [Crops, RandomResizedCrop])
def test_a_crop_that_makes_no_sense_is_refused(kind, scale):
    with pytest.raises(ValueError, match="`scale` must be"):
        kind(scale)


@pytest.mark.parametrize("name", ["max_lr", "warm_up"])
def test_a_rate_that_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be a number, got 'a'"):
        one_cycle_by_size({0.0: 16}, **{"epochs": 3, "batch_size": 16, "max_lr": 0.1, name: "a"})


def test_a_plan_is_checked_as_a_whole():
    with pytest.raises(ValueError, match="list of Phase"):
        TrainingPlan([])
    with pytest.raises(ValueError, match="momentum"):
        TrainingPlan([Phase(1, 8, 1, 0.1), Phase(1, 8, 1, 0.1, momentum=0.9)])
    with pytest.raises(ValueError, match="epochs 0 to 44"):
        PLANS["fastai_8gpu"].phase_at(45)


def test_a_plan_prints_and_draws_itself(tmp_path):
    text = str(PLANS["imagenet18_1"])
    assert "34–35   288  1024" in text and "rectangles of 288" in text and "1 → 2" in text
    figure = PLANS["imagenet18_1"].plot(tmp_path / "plan.png")
    assert len(figure.axes) == 5 and (tmp_path / "plan.png").stat().st_size > 10_000
