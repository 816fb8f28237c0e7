"""What the pictures show; how they look was looked at."""

import keras_dawn  # noqa: F401
from keras_dawn import OneCycle, data, plots
from keras_dawn.evaluation.answers import Answers
from keras_dawn.schedules.range_test import RangeTest

import numpy as np
import pytest


@pytest.fixture
def answers():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], "float32")
    return Answers(probabilities, np.array([0, 1, 1]), np.zeros((3, 8, 8, 3), "float32"))


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def test_rate_and_momentum_share_a_panel_on_twin_axes(tmp_path):
    path = tmp_path / "schedule.png"
    values = OneCycle(0.1).values(2, 10)
    left, right = plots.plot_schedule(values, 2, path).axes
    assert left.get_ylabel() == "learning rate"
    assert right.get_ylabel() == "momentum"
    assert list(left.lines[0].get_ydata()) == values["learning_rate"]
    assert list(right.lines[0].get_ydata()) == values["momentum"]
    assert left.bbox.bounds == right.bbox.bounds
    assert path.stat().st_size > 1000


def test_a_batch_is_shown_as_it_was_before_normalisation():
    images = np.full((2, 4, 4, 3), 2.0, "float32")
    figure = plots.show_batch(images, [1, 0], ["cat", "dog"], mean=(0.1,) * 3, std=(0.2,) * 3)
    assert titles(figure) == ["dog", "cat"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), 0.5, atol=1e-6)


def test_labels_may_lie_on_a_gpu():
    class OnGpu:
        def cpu(self):
            return np.array([1, 0])

    images = np.zeros((2, 4, 4, 1), np.uint8)
    assert titles(plots.show_batch(images, OnGpu(), ["cat", "dog"])) == ["dog", "cat"]


def test_mixed_labels_are_named_by_probability():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    figure = plots.show_batch(images, np.array([[0.3, 0.7], [0.0, 1.0]]), ["cat", "dog"])
    assert titles(figure) == ["dog 70 %\ncat 30 %", "dog"]
    assert titles(plots.show_batch(images)) == ["", ""]
    several = plots.show_batch(images, np.array([[1, 1, 0, 1], [0, 0, 0, 0]]), list("abcd"))
    assert titles(several) == ["a\nb\nd", ""]


def test_confusions_are_counted_in_their_cells(answers):
    axis = plots.plot_confusion(answers, ["cat", "dog"]).axes[0]
    cells = {text.get_position(): text.get_text() for text in axis.texts}
    assert cells == {(0, 0): "1", (0, 1): "1", (1, 1): "1"}
    assert axis.get_title(loc="left") == "Confusion: 66.67 % right"


def test_the_worst_come_first(answers):
    figure = plots.plot_worst_losses(answers, ["cat", "dog"], 2)
    assert titles(figure) == ["cat\nis dog\n1.6", "dog\nis dog\n0.4"]
    with pytest.raises(ValueError, match="keep_images"):
        plots.plot_worst_losses(Answers(answers.probabilities, answers.labels))


def test_metrics_are_drawn_for_training_and_validation():
    rows = [{"epoch": n, "accuracy": 0.1 * n, "val_accuracy": 0.2 * n} for n in (1, 2, 3)]
    (axis,) = plots.plot_metric(rows, "accuracy").axes
    assert [line.get_label() for line in axis.lines] == ["training", "validation"]
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [0.2, 0.4, 0.6])


def test_each_layer_has_a_line_in_each_panel():
    rows = [
        {"step": step, "layer": layer, "mean": 0.1, "std": 1.0, "near_zero": 0.2,
         "gradient_norm": 0.5 + step}
        for step in (0, 10) for layer in ("stem", "head")
    ]  # fmt: skip
    figure = plots.plot_layer_statistics(rows)
    assert [len(axis.lines) for axis in figure.axes] == [2, 2, 2, 2]
    assert list(figure.axes[3].lines[0].get_ydata()) == [0.5, 10.5]
    with pytest.raises(ValueError, match="no rows"):
        plots.plot_layer_statistics([])


def test_logarithmic_axes_are_labelled_with_plain_numbers():
    values = [10 ** (-5 + place / 10) for place in range(51)]
    found = RangeTest.from_losses("learning_rate", values, [2.0] * 51)
    axis = plots.plot_range_test(found).axes[0]
    assert {"0.0001", "0.001", "0.01", "0.1"} <= ticks(axis.xaxis)
    assert not {"0.0002", "0.005"} & ticks(axis.xaxis)  # labels of 5 decades would touch
    narrow = plots.plot_range_test(RangeTest.from_losses("rate", values[:22], [2.0] * 22))
    assert {"2e-05", "5e-05", "0.0001", "0.0002"} <= ticks(narrow.axes[0].xaxis)
    rows = [
        {"step": step, "layer": "stem", "mean": 0.1, "std": 1.0, "near_zero": 0.2,
         "gradient_norm": 10.0**-step}
        for step in range(4)
    ]  # fmt: skip
    assert {"0.001", "0.01", "0.1", "1"} <= ticks(plots.plot_layer_statistics(rows).axes[3].yaxis)


def ticks(axis):
    """The texts along an axis as they are drawn."""
    axis.get_figure().draw_without_rendering()
    texts = {label.get_text() for label in axis.get_ticklabels(which="both")}
    assert not [text for text in texts if "$" in text]
    return texts


def test_a_comparison_orders_by_the_mean_and_shows_every_seed():
    curves = {"constant": [[10.0, 20.0], [12.0, 24.0]], "one-cycle": [[8.0, 30.0], [9.0, 32.0]]}
    finals = {name: [seed[-1] for seed in seeds] for name, seeds in curves.items()}
    rates = {"constant": [0.1] * 4, "one-cycle": [0.0, 0.2, 0.1, 0.0]}
    rate, accuracy, final = plots.plot_comparison(rates, curves, finals).axes
    assert list(rate.lines[1].get_ydata()) == rates["one-cycle"]
    assert list(accuracy.lines[0].get_ydata()) == [11.0, 22.0]
    assert [label.get_text() for label in final.get_yticklabels()] == ["constant", "one-cycle"]
    assert list(final.lines[0].get_xdata()) == [20.0, 24.0]
    assert [text.get_text() for text in final.texts] == ["22.00", "31.00"]


def test_labels_in_a_column_are_class_numbers():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    figure = plots.show_batch(images, np.array([[2], [0], [1]]), list("abc"))
    assert titles(figure) == ["c", "a", "b"]


def test_a_look_at_the_only_batch_leaves_the_epoch():
    images = data.DeviceImages(np.zeros((3, 4, 4, 3), np.uint8), np.arange(3), 4)
    images.set_epoch(2)
    assert titles(plots.show_batch(images)) == ["0", "1", "2"]
    assert images.epoch == 2


def test_a_metric_that_no_epoch_has_is_named():
    with pytest.raises(
        ValueError, match="no 'acuracy' to draw; the rows have: epoch, val_accuracy"
    ):
        plots.plot_metric([{"epoch": 1, "val_accuracy": 0.5}], "acuracy")


def test_a_metric_of_each_class_has_lines_and_one_name():
    rows = [{"epoch": n, "f1": [0.1 * n, 0.2 * n]} for n in (1, 2)]
    (axis,) = plots.plot_metric(rows, "f1").axes
    np.testing.assert_allclose([line.get_ydata() for line in axis.lines], [[0.1, 0.2], [0.2, 0.4]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["training"]


@pytest.mark.parametrize("shift", [0.0, -1.0, -3.0])
def test_losses_down_to_below_nothing_are_seen(shift):
    values = [10 ** (-5 + place / 10) for place in range(51)]
    losses = [shift + abs(place - 30) / 30 for place in range(50)] + [1e6]
    found = RangeTest.from_losses("learning_rate", values, losses, smoothing=0)
    bottom, top = plots.plot_range_test(found).axes[0].get_ylim()
    assert shift - 0.3 < bottom < shift and shift + 1 < top < shift + 3


def test_one_step_of_the_layers_is_seen():
    names = ("mean", "std", "near_zero", "gradient_norm")
    figure = plots.plot_layer_statistics([{"step": 0, "layer": "_a", **dict.fromkeys(names, 0.5)}])
    assert [axis.lines[0].get_marker() for axis in figure.axes] == ["o"] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [" _a"]


def test_settings_of_fewer_epochs_are_compared():
    curves = {"short": [[10.0, 20.0]], "long": [[8.0, 9.0, 20.0, 30.0]]}
    finals = {name: [seed[-1] for seed in seeds] for name, seeds in curves.items()}
    rates = {"short": [0.2] * 4, "long": [0.1] * 8}
    rate, accuracy, _ = plots.plot_comparison(rates, curves, finals).axes
    assert [list(line.get_xdata()) for line in accuracy.lines] == [[1, 2], [1, 2, 3, 4]]
    assert [line.get_xdata()[-1] for line in rate.lines] == [1.5, 3.5]
