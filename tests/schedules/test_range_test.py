import math

from keras_dawn.schedules.range_test import RangeTest, Sweep, longest_fall, smooth

import numpy as np
import pytest


def found(usable_losses, smoothing=0.0):
    """A result whose losses, once a tenth and the last five are cut off, are the given ones."""
    for first in range(1, 20):
        count = first + len(usable_losses) + 5
        if count // 10 == first:
            break
    losses = [usable_losses[0]] * first + list(usable_losses) + [9.0] * 5
    values = [10 ** (-6 + 0.1 * n) for n in range(count)]
    result = RangeTest.from_losses("learning_rate", values, losses, smoothing)
    return result, values[first : first + len(usable_losses)]


FALL = [5.0] * 4 + [5.0 - 0.3 * k for k in range(1, 13)] + [2.0 + 0.5 * k for k in range(6)]


def test_the_valley_is_in_the_middle_of_the_longest_fall():
    # One of the equal losses and twelve falling ones: 13 places that end at 15, so from 2;
    # a third of them is 4.33, half of that 2.17: place 2 + 4 + 2.
    result, values = found(FALL)
    assert longest_fall(FALL) == (2, 15)
    assert result.valley == values[8]


def test_a_fall_over_all_steps_begins_before_the_first_as_fastais_does():
    # 20 places that end at 19, so from -1; a third of them is 6.67, half of that 3.33: -1 + 6 + 3.
    losses = [5.0 - 0.1 * k for k in range(20)]
    result, values = found(losses)
    assert longest_fall(losses) == (-1, 19) and longest_fall([1.0, 2.0]) == (0, 0)
    assert result.valley == values[8]


def test_the_minimum_is_a_tenth_of_the_best_value():
    result, values = found(FALL)
    assert result.minimum == values[15] / 10


def test_steep_is_where_the_loss_falls_fastest():
    losses = list(FALL)
    for place in range(10, 16):
        losses[place] -= 0.4  # the step from place 9 to 10 falls by 0.7, the others by 0.3
    result, values = found(losses)
    assert result.steep == values[9]


def test_slide_stops_where_both_edges_of_its_window_are_as_steep():
    # Slopes: 0 up to place 32, 0.5 at 33, 1 from 34 on. The window's right edge slides from 39
    # to 33; its left edge was then at 18.
    result, values = found([1.0] * 34 + [1.0 + k for k in range(1, 7)])
    assert result.slide == values[18]
    # The same slope everywhere: it does not slide at all.
    result, values = found([5.0 - 0.1 * k for k in range(40)])
    assert result.slide == values[-16]


def test_suggestions_stop_at_the_first_loss_that_is_not_finite():
    result, values = found([*FALL[:12], math.nan, *FALL[13:]])
    assert result.minimum == values[11] / 10


def test_too_few_losses_for_a_suggestion_say_so():
    result = RangeTest.from_losses("learning_rate", [0.1] * 7, [1.0] * 7)
    with pytest.raises(ValueError, match="more steps"):
        _ = result.valley
    result, _ = found(FALL[:10])
    nothing = RangeTest.from_losses("learning_rate", [0.1], [float("nan")])
    with pytest.raises(ValueError, match="the loss is nan at the first step already"):
        nothing.valley  # noqa: B018
    with pytest.raises(ValueError, match="`slide` needs 16 steps"):
        _ = result.slide


def test_smoothing_is_corrected_for_its_start():
    assert smooth([3.0, 3.0, 3.0], 0.98) == pytest.approx([3.0, 3.0, 3.0])
    # 0.5: (1·0.5)/0.5, then (0.5·0.5 + 3·0.5)/0.75
    assert smooth([1.0, 3.0], 0.5) == pytest.approx([1.0, (0.25 + 1.5) / 0.75])


def test_sweeps_are_exponential_or_linear():
    assert Sweep(1e-4, 1.0, 5).values() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert Sweep(0.0, 1.0, 3, spacing="linear").values() == [0.0, 0.5, 1.0]
    ranges = ((1.0, 0.1, 5, "linear"), (0, 1, 5, "exponential"), (0, 1, 1, "linear"))
    for start, end, steps, spacing in ranges:
        with pytest.raises(ValueError, match="start < end"):
            Sweep(start, end, steps, spacing=spacing)
    for arguments, words in (
        ({"spacing": "quadratic"}, "exponential"),
        ({"stop_factor": 0.5}, "above 1"),
        ({"smoothing": 1.0}, "smoothing"),
    ):
        with pytest.raises(ValueError, match=words):
            Sweep(**arguments)


def test_the_curve_is_drawn_with_its_suggestions(tmp_path):
    result, _ = found(FALL + [4.5 + 0.3 * k for k in range(20)], smoothing=0.5)
    figure = result.plot(tmp_path / "curve.png")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any(label.startswith("valley") for label in labels) and len(labels) == 6
    assert figure.axes[0].get_xscale() == "log"
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_a_sweep_that_ended_early_leaves_out_a_tenth_of_what_was_planned():
    # As fastai's, which cuts `num_it // 10` off whatever came of it.
    values, losses = [10 ** (-6 + 0.1 * n) for n in range(60)], [1.0] * 60
    losses[8], losses[30] = 0.2, 0.5
    given = "learning_rate", values, losses, 0.0
    assert RangeTest.from_losses(*given).minimum == values[8] / 10
    assert RangeTest.from_losses(*given, planned=100).minimum == values[30] / 10
