"""Several settings beside each other, over several seeds."""

from keras_dawn.plots.style import COLOURS, GREY, empty_figure, plain, save, whole_epochs

import numpy as np


def plot_comparison(schedules, curves, finals, path=None):
    """Schedules, validation accuracy over the epochs, and final accuracies of several settings.

    Args:
        schedules: dict from a setting's name to its learning rates, one a step.
        curves: dict from the name to a list of lists: for each seed the accuracy in percent
            after each epoch.
        finals: dict from the name to a list of final accuracies in percent, one a seed.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`. Settings are ordered by their mean final accuracy; lines are
        means, dots single seeds.
    """
    figure = empty_figure(11, 6)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1))
    rates = figure.add_subplot(grid[0, 0])
    accuracy = figure.add_subplot(grid[1, 0])
    final = figure.add_subplot(grid[:, 1])
    styles = _styles(curves)
    for name, (colour, dashes) in styles.items():
        steps, epochs = len(schedules[name]), len(curves[name][0])
        line = {"color": colour, "linestyle": dashes, "lw": 1.8, "label": name}
        rates.plot([epochs * n / steps for n in range(steps)], schedules[name], **line)
        mean = np.mean(curves[name], axis=0)
        accuracy.plot(range(1, epochs + 1), mean, marker="o", ms=3, **line)
    order = sorted(finals, key=lambda name: np.mean(finals[name]))
    for place, name in enumerate(order):
        colour = styles[name][0]
        values, mean = finals[name], np.mean(finals[name])
        final.plot(values, [place] * len(values), "o", color=colour, ms=6, alpha=0.6)
        final.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, lw=3)
        final.annotate(
            f"{mean:.2f}", (mean, place + 0.3), xytext=(0, 2), textcoords="offset points",
            ha="center", fontsize=8, color=GREY,
        )  # fmt: skip
    final.set_yticks(range(len(order)), order)
    for axis, title, x, y in (
        (rates, "Learning rate", "epoch", "learning rate"),
        (accuracy, "Validation accuracy, mean of the seeds", "epoch", "accuracy in %"),
        (final, "At the end: each seed, and the mean", "accuracy in %", ""),
    ):
        plain(axis)
        axis.set_title(title, loc="left", fontweight="bold", fontsize=10)
        axis.set_xlabel(x)
        axis.set_ylabel(y)
    whole_epochs(accuracy)
    # The last epochs are compared; the first ones would squeeze them into a line.
    low = min(min(values[-2:]) for seeds in curves.values() for values in seeds)
    accuracy.set_ylim(bottom=max(0, low - 25))
    accuracy.legend(frameon=False, fontsize=7, ncols=2, loc="lower right")
    return save(figure, path)


def _styles(names):
    """A colour and a dash pattern for each name, no pair twice."""
    dashes = ("solid", (0, (4, 2)), (0, (1, 1)))
    return {
        name: (COLOURS[n % len(COLOURS)], dashes[n // len(COLOURS) % 3])
        for n, name in enumerate(names)
    }
