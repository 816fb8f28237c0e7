from keras_dawn.schedules.one_cycle_shapes import OneCycleShape, one_cycle

import pytest
import torch


def torch_one_cycle(steps, max_lr=0.7, momentum=(0.95, 0.85), **arguments):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr,
        total_steps=steps,
        max_momentum=momentum[0],
        base_momentum=momentum[1],
        **arguments,
    )
    rates, momenta = [], []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return rates, momenta


@pytest.mark.parametrize("steps", [2, 3, 7, 10, 100, 1961])
@pytest.mark.parametrize("pct_start", [0.25, 0.3, 0.45])
@pytest.mark.parametrize("shape", ["cosine", "three_phase"])
def test_torch_shapes_equal_torch_at_every_step(shape, pct_start, steps):
    rates, momenta = torch_one_cycle(
        steps,
        pct_start=pct_start,
        div_factor=10,
        final_div_factor=1e3,
        three_phase=shape == "three_phase",
    )
    ours = OneCycleShape(shape, pct_start=pct_start, div_factor=10, final_div_factor=1e3)
    rate, momentum = ours.learning_rate(0.7, steps), ours.momentum_curve(steps)
    assert [rate(i / steps) for i in range(steps)] == pytest.approx(rates, rel=1e-12, abs=1e-15)
    assert [momentum(i / steps) for i in range(steps)] == pytest.approx(momenta, rel=1e-12)


def test_defaults_are_torchs():
    rates, _ = torch_one_cycle(100)
    rate = one_cycle(0.7, total_steps=100)
    assert [rate(i / 100) for i in range(100)] == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize(
    ("max_lr", "div", "tail", "steps", "vectors"),
    [
        # fast.ai's entry on 8 × V100
        (2.0, 50, 12.5, 1960, {0: 0.04, 428: 1.018856, 857: 2.0, 858: 1.997713, 1714: 0.04,
                               1715: 0.039839, 1959: 0.000561}),
        # and on one
        (1.5, 20, 20, 2940, {0: 0.075, 588: 0.7875, 1176: 1.5, 2352: 0.075, 2939: 0.000876}),
    ],
)  # fmt: skip
def test_dawnbench_shape_equals_the_entries_vectors(max_lr, div, tail, steps, vectors):
    corners = {"div_factor": div, "tail_fraction": tail / 100}
    rate = one_cycle(max_lr, "dawnbench", total_steps=steps, **corners)
    for step, value in vectors.items():
        assert round(rate(step / steps), 6) == value


def test_dawnbench_shape_equals_its_formula_at_every_step():
    steps, top, max_lr, div = 1960, 857, 2.0, 50

    def formula(i):
        if i <= top:
            return max_lr * (1 + i / top * (div - 1)) / div
        if i <= 2 * top:
            return max_lr * (1 + (2 * top - i) / top * (div - 1)) / div
        return max_lr / div * (1 - 0.99 * (i - 2 * top) / (steps - 2 * top))

    rate = one_cycle(max_lr, "dawnbench", total_steps=steps, div_factor=div, tail_fraction=0.125)
    ours = [rate(i / steps) for i in range(steps)]
    assert ours == pytest.approx([formula(i) for i in range(steps)], rel=1e-12)


def test_dawnbench_momentum_is_one_step_ahead_of_the_rate():
    steps = 2940
    momentum = OneCycleShape("dawnbench", tail_fraction=0.2).momentum_curve(steps)
    # c = 1176 steps down from 0.95 to 0.85, as many up, then constant
    assert momentum(0.0) == pytest.approx(0.95 - 0.1 * 1 / 1176)
    assert momentum(1175 / steps) == pytest.approx(0.85)
    assert momentum(1176 / steps) == pytest.approx(0.85 + 0.1 / 1176)
    assert [momentum(i / steps) for i in (2351, 2400, 2939)] == pytest.approx([0.95] * 3)


def test_without_steps_the_corners_lie_at_the_fractions():
    rate = one_cycle(1.0, pct_start=0.25, div_factor=4)
    assert [rate(0), rate(0.25), rate(1.0)] == pytest.approx([0.25, 1.0, 0.25e-4])


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": "two_phase"},
        {"pct_start": 0.0},
        {"pct_start": 30},
        {"shape": "three_phase", "pct_start": 0.6},
        {"shape": "dawnbench", "pct_start": 0.3},
        {"tail_fraction": 0.1},
        {"shape": "dawnbench", "tail_fraction": 1.0},
        {"shape": "dawnbench", "tail_fraction": 20},
        {"div_factor": 0.5},
        {"final_div_factor": 0},
        {"momentum": (0.85, 0.95)},
        {"momentum": (1.0, 0.9)},
        {"momentum": 0.9},
    ],
)
def test_bad_shapes_are_refused(arguments):
    with pytest.raises(ValueError, match="got|takes"):
        OneCycleShape(**arguments)


def test_bad_rates_and_lengths_are_refused():
    with pytest.raises(ValueError, match="max_lr"):
        one_cycle(0.0)
    with pytest.raises(ValueError, match="total_steps"):
        one_cycle(0.1, total_steps=0)
