"""What a range test found."""

from keras_dawn.plots.style import BLUE, GREY, ORANGE, PINK, figure_of, numbers_on_log_axis, save


def plot_range_test(found, path=None):
    """Losses of a range test over the swept values, with the suggested ones.

    Args:
        found: `RangeTest`.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, (axis,) = figure_of(1, f"Range test: {found.parameter.replace('_', ' ')}")
    axis.plot(found.values, found.losses, color=GREY, lw=0.8, alpha=0.6, label="batch")
    axis.plot(found.values, found.smoothed, color=BLUE, lw=2, label="smoothed")
    if found.validation_losses:
        axis.plot(
            found.validation_values, found.validation_losses, color=PINK, lw=1.5, label="validation"
        )
    if found.parameter == "learning_rate":
        for name, marker in (("valley", "o"), ("steep", "s"), ("minimum", "^"), ("slide", "D")):
            try:
                value = getattr(found, name)
            except ValueError:
                continue  # too few steps for this one
            nearest = min(range(len(found.values)), key=lambda n: abs(found.values[n] - value))
            label = f"{name}: {value:.2g}"
            axis.plot(value, found.smoothed[nearest], marker, color=ORANGE, ms=8, label=label)
    if found.values[0] > 0 and found.values[-1] > 100 * found.values[0]:
        axis.set_xscale("log")
        numbers_on_log_axis(axis.xaxis)
    finite = [loss for loss in found.smoothed if loss == loss and loss != float("inf")]
    if finite:
        axis.set_ylim(*_limits(finite))
    axis.set_xlabel(found.parameter.replace("_", " "))
    axis.set_ylabel("loss")
    axis.legend(frameon=False)
    return save(figure, path)


def _limits(losses):
    """The lowest and the highest loss to be seen.

    Past the point of divergence the loss would make all before it look flat.
    """
    low, high = min(losses), max(losses)
    if low > 0:
        return 0.9 * low, 1.05 * min(high, 4 * low)
    # No multiple of such a loss is above it: as much is seen above the first as is below it.
    high = min(high, 2 * losses[0] - low) if losses[0] > low else high
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room
