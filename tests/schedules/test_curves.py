import math

from keras_dawn import schedules

import pytest
import torch


def torch_rates(scheduler_class, steps, rate=1.0, **arguments):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, momentum=0.9)
    scheduler = scheduler_class(optimizer, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def sample(curve, steps):
    return [curve(step / steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("curve", "middle"),
    [
        (schedules.constant(3.0), 3.0),
        (schedules.linear(1.0, 3.0), 2.0),
        (schedules.cosine(1.0, 3.0), 2.0),
        (schedules.exponential(1.0, 4.0), 2.0),
        (schedules.polynomial(1.0, 0.0, 2), 0.25),
    ],
)
def test_simple_curves_by_hand(curve, middle):
    assert curve(0.5) == pytest.approx(middle, abs=1e-15)


def test_cosine_equals_torch_cosine_annealing():
    theirs = torch_rates(torch.optim.lr_scheduler.CosineAnnealingLR, 50, T_max=50, eta_min=0.1)
    assert sample(schedules.cosine(1.0, 0.1), 50) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_restarts_equal_torch_warm_restarts(multiplier):
    theirs = torch_rates(
        torch.optim.lr_scheduler.CosineAnnealingWarmRestarts,
        97,
        T_0=7,
        T_mult=multiplier,
        eta_min=0.05,
    )
    ours = schedules.cosine_restarts(1.0, 0.05, cycle_length=7 / 97, multiplier=multiplier)
    assert sample(ours, 97) == pytest.approx(theirs, abs=1e-7)


@pytest.mark.parametrize(
    ("mode", "curve"),
    [
        ("triangular", schedules.triangular(0.1, 1.0, cycles=3)),
        ("triangular2", schedules.triangular2(0.1, 1.0, cycles=3)),
        ("exp_range", schedules.exp_range(0.1, 1.0, cycles=3, end_scale=0.98**60)),
    ],
)
def test_cyclical_rates_equal_torch_cyclic_lr(mode, curve):
    theirs = torch_rates(
        torch.optim.lr_scheduler.CyclicLR,
        60,
        base_lr=0.1,
        max_lr=1.0,
        step_size_up=10,
        mode=mode,
        gamma=0.98 if mode == "exp_range" else 1.0,
        cycle_momentum=False,
    )
    assert sample(curve, 60) == pytest.approx(theirs, abs=1e-12)


def test_steps_begin_at_their_boundaries():
    curve = schedules.steps([0.4, 0.04, 0.004], [21 / 45, 35 / 45])
    rates = [curve(epoch / 45) for epoch in range(45)]
    assert rates == [0.4] * 21 + [0.04] * 14 + [0.004] * 10


def test_combine_runs_each_curve_over_its_fraction():
    curve = schedules.combine([0.2, 0.8], [schedules.linear(0, 1), schedules.linear(5, 1)])
    assert [curve(p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 5, 3, 1])


def test_combine_tells_apart_phases_that_share_one_curve():
    wave = schedules.linear(0, 1)
    assert schedules.combine([0.5, 0.5], [wave, wave])(0.75) == pytest.approx(0.5)


def test_piecewise_linear_is_numpy_interp():
    import numpy as np

    positions, values = [0, 5 / 24, 1], [0, 0.4, 0]
    curve = schedules.piecewise_linear(positions, values)
    for progress in np.linspace(0, 1, 25):
        assert curve(progress) == pytest.approx(np.interp(progress, positions, values))


def test_flat_cosine_and_warm_up():
    flat = schedules.flat_cosine(1.0, 0.0, flat_fraction=0.5)
    assert [flat(0.5), flat(0.75), flat(1.0)] == pytest.approx([1.0, 0.5, 0.0])
    warmed = schedules.warm_up(flat, 0.1)
    assert [warmed(0.05), warmed(0.1), warmed(0.55), warmed(1.0)] == pytest.approx([0.5, 1, 1, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.exponential(0.0, 1.0),
        lambda: schedules.polynomial(1.0, 0.0, 0),
        lambda: schedules.combine([0.5, 0.4], [schedules.constant(1)] * 2),
        lambda: schedules.combine([1.0], []),
        lambda: schedules.combine([], []),
        lambda: schedules.steps([1, 2], [1.5]),
        lambda: schedules.steps([1, 2], []),
        lambda: schedules.steps([1, 2, 3], [0.6, 0.4]),
        lambda: schedules.piecewise_linear([0, 0.5], [1, 2]),
        lambda: schedules.piecewise_linear([0, 1], [1]),
        lambda: schedules.triangular(0, 1, cycles=0),
        lambda: schedules.exp_range(0, 1, end_scale=0),
        lambda: schedules.cosine_restarts(1, cycle_length=0),
        lambda: schedules.cosine_restarts(1, multiplier=0.5),
        lambda: schedules.cosine("a", 0),
        lambda: schedules.linear(0, None),
        lambda: schedules.constant([1.0]),
        lambda: schedules.flat_cosine(1.0, 0.0, "half"),
        lambda: schedules.triangular("low", 1.0),
        lambda: schedules.linear(0, 1)(1.01),
        lambda: schedules.linear(0, 1)(math.nan),
    ],
)
def test_bad_curves_are_refused(make):
    with pytest.raises(ValueError, match="got|needs"):
        make()


def test_a_curve_says_what_it_is():
    curve = schedules.combine([0.3, 0.7], [schedules.linear(0, 1), schedules.cosine(1, 0)])
    assert repr(curve) == "combine([0.3, 0.7], [linear(0, 1), cosine(1, 0)])"


def test_restart_ends_are_where_the_rate_jumps_back():
    assert schedules.restart_ends(1 / 7, 2) == pytest.approx([1 / 7, 3 / 7, 1])
    assert schedules.restart_ends(0.25, 1) == pytest.approx([0.25, 0.5, 0.75, 1])
    assert schedules.restart_ends(0.4, 2) == pytest.approx([0.4, 1])
    curve = schedules.cosine_restarts(1.0, 0.0, 0.4, 2)
    assert curve(0.4) == pytest.approx(1.0)
    assert curve(0.8) == pytest.approx(0.5)  # half of a cycle that the training's end cuts off


def test_where_one_curve_ends_the_next_has_begun():
    # As in torch's SequentialLR with milestones=[5].
    halves = schedules.combine([0.5, 0.5], [schedules.constant(1.0), schedules.constant(0.1)])
    assert sample(halves, 10) == [1.0] * 5 + [0.1] * 5
    thirds = schedules.combine([0.1, 0.2, 0.7], [schedules.constant(n) for n in range(3)])
    assert sample(thirds, 10) == [0, 1, 1] + [2] * 7  # 0.1 + 0.2 is more than 0.3
    wave = schedules.cosine(1.0, 0.0)
    twice = schedules.cosine_restarts(1.0, 0.0, 0.5, 1.0)
    assert sample(schedules.combine([0.5, 0.5], [wave, wave]), 10) == pytest.approx(
        sample(twice, 10)
    )
