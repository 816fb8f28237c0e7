"""What hyper-parameters do over a training."""

from keras_dawn.plots.style import BLUE, ORANGE, cycle, figure_of, save


def plot_schedule(values, epochs, path=None):
    """Hyper-parameters over the epochs: two of them on twin axes, more in a panel each.

    Args:
        values: dict from name to a list of floats, one a step
            (`ParameterSchedule.values`).
        epochs: float, how many epochs the lists span.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    twins = len(values) == 2
    figure, axes = figure_of(1 if twins else len(values), "Schedule")
    if twins:
        axes = [axes[0], axes[0].twinx()]
        axes[1].spines["top"].set_visible(False)
    colours = (BLUE, ORANGE) if twins else cycle()
    for axis, colour, (name, numbers) in zip(axes, colours, values.items(), strict=False):
        steps = len(numbers)
        axis.plot([epochs * step / steps for step in range(steps)], numbers, color=colour, lw=2)
        axis.set_ylabel(name.replace("_", " "), color=colour if twins else "black")
        if twins:
            axis.tick_params(axis="y", colors=colour)
    axes[0 if twins else -1].set_xlabel("epoch")
    return save(figure, path)
