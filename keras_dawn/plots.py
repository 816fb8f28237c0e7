"""Every picture, drawn from records with matplotlib (extra `plots`).

The colours are Okabe and Ito's, which people with any colour vision tell apart.
"""

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F"
_COLOURS = (BLUE, ORANGE, GREEN, PINK)


def plot_schedule(values, epochs, path=None):
    """Hyper-parameters over the epochs, one panel each.

    Args:
        values: dict from name to a list of floats, one a step
            (`ParameterSchedule.values`).
        epochs: float, how many epochs the lists span.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _figure(len(values), "Schedule")
    for axis, colour, (name, numbers) in zip(axes, _cycle(), values.items(), strict=False):
        steps = len(numbers)
        axis.plot([epochs * step / steps for step in range(steps)], numbers, color=colour, lw=2)
        axis.set_ylabel(name.replace("_", " "))
    axes[-1].set_xlabel("epoch")
    return _save(figure, path)


def plot_loss(rows, path=None):
    """Training and validation loss over the epochs.

    Args:
        rows: list of dicts with `epoch`, `loss` and, where validated, `val_loss`.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, (axis,) = _figure(1, "Loss")
    for name, label, colour in (("loss", "training", BLUE), ("val_loss", "validation", ORANGE)):
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, lw=2, marker="o", ms=4, label=label)
    axis.set_xlabel("epoch")
    axis.set_ylabel("loss")
    axis.legend(frameon=False)
    return _save(figure, path)


def plot_time_to_accuracy(runs, target, board=(), path=None):
    """Validation accuracy against training time, with the target and historical entries.

    Args:
        runs: dict from a label to a list of `EpochRecord`.
        target: percent, drawn as a line.
        board: historical `BoardEntry`s, drawn on that line where they reached it.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`. The time axis is logarithmic.
    """
    figure, (axis,) = _figure(1, "Time to accuracy", width=8)
    axis.axhline(target, color=GREY, lw=1, ls="--")
    axis.annotate(
        f"target {target:g} %",
        (0.01, target),
        xycoords=("axes fraction", "data"),
        xytext=(0, 6),
        textcoords="offset points",
        va="bottom",
        color=GREY,
    )
    for colour, (label, records) in zip(_cycle(), runs.items(), strict=False):
        axis.plot(
            [record.training_seconds for record in records],
            [record.accuracy for record in records],
            color=colour,
            lw=2,
            marker="o",
            ms=4,
            label=label,
        )
    for seconds, label in _board_labels(board):
        axis.plot(seconds, target, marker="v", ms=7, color=GREY, mec="white", ls="none")
        axis.annotate(
            label,
            (seconds, target),
            xytext=(0, -9),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="top",
            fontsize=7,
            color=GREY,
        )
    axis.set_xscale("log")
    for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        ticks(_seconds_on_log_axis)
    axis.set_xlabel("training time in seconds (DAWNBench's clock)")
    axis.set_ylabel("validation accuracy in %")
    accuracies = [record.accuracy for records in runs.values() for record in records]
    low, high = min([*accuracies, target]), max([*accuracies, target])
    axis.set_ylim(min(low - 2, 40) if board else low - 2, min(high + 4, 101))
    axis.legend(frameon=False, loc="lower right")
    return _save(figure, path)


def plot_range_test(found, path=None):
    """Losses of a range test over the swept values, with the suggested ones.

    Args:
        found: `RangeTest`.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, (axis,) = _figure(1, f"Range test: {found.parameter.replace('_', ' ')}")
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
    finite = [loss for loss in found.smoothed if loss == loss and loss != float("inf")]
    if finite:
        axis.set_ylim(min(finite) * 0.9, min(max(finite), 4 * min(finite)) * 1.05)
    axis.set_xlabel(found.parameter.replace("_", " "))
    axis.set_ylabel("loss")
    axis.legend(frameon=False)
    return _save(figure, path)


def _board_labels(board):
    """Entries as `(seconds, label)`, those too close to tell apart under one label."""
    groups = []
    for entry in sorted(board, key=lambda entry: entry.seconds):
        if groups and entry.seconds < 1.12 * groups[-1][-1].seconds:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    for group in groups:
        if len(group) == 1:
            names = f"{group[0].author}, {group[0].hardware}, {group[0].date.year}"
        else:
            names = " / ".join(f"{entry.author} {entry.date.year}" for entry in group)
        yield group[0].seconds, names


def _seconds_on_log_axis(seconds, position):
    """Ticks at 1, 2 and 5 times a power of ten, as plain numbers."""
    return f"{seconds:g}" if f"{seconds:.0e}"[0] in "125" else ""


def _figure(panels, title, width=7):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install 'keras_dawn[plots]'.") from error
    figure = Figure(figsize=(width, 4 if panels == 1 else 2.4 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
    axes[0].set_title(title, loc="left", fontweight="bold")
    return figure, axes


def _cycle():
    while True:
        yield from _COLOURS


def _save(figure, path):
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
