"""How a training went."""

from keras_dawn.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    cycle,
    figure_of,
    label_of,
    save,
    whole_epochs,
)


def plot_loss(rows, path=None):
    """Training and validation loss over the epochs.

    Args:
        rows: list of dicts with `epoch`, `loss` and, where validated, `val_loss`.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: no row has a loss.
    """
    return plot_metric(rows, "loss", path)


def plot_metric(rows, name, path=None):
    """A metric in training and validation over the epochs, such as the accuracy.

    Args:
        rows: list of dicts with `epoch`, and the metric with and without `val_` before its
            name where it was measured (`records.HistoryWriter.rows`).
        name: str.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`. A metric with a number for each class has a line for each.

    Raises:
        ValueError: no row has the metric.
    """
    known = dict.fromkeys(key for row in rows for key in row)
    if not {name, f"val_{name}"} & set(known):
        raise ValueError(f"There is no {name!r} to draw; the rows have: {', '.join(known)}.")
    figure, (axis,) = figure_of(1, name.replace("_", " ").capitalize())
    for key, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
        points = [(row["epoch"], row[key]) for row in rows if key in row]
        if points:
            line = {"color": colour, "lw": 2, "marker": "o", "ms": 4}
            first, *_ = axis.plot(*zip(*points, strict=True), **line)
            first.set_label(label)
    whole_epochs(axis)
    axis.set_ylabel(name.replace("_", " "))
    axis.legend(frameon=False)
    return save(figure, path)


def plot_time_to_accuracy(runs, target, board=(), path=None, *, top5=False):
    """Validation accuracy against training time, with the target and historical entries.

    Args:
        runs: dict from a label to a list of `EpochRecord`.
        target: percent, drawn as a line, or `None` without a board.
        board: historical `BoardEntry`s, drawn on that line where they reached it.
        path: file to write, or `None`.
        top5: bool, whether the target is one of the top-5 accuracy, which is then drawn.

    Returns:
        `matplotlib.figure.Figure`. The time axis is logarithmic.
    """
    figure, (axis,) = figure_of(1, "Time to accuracy", width=8)
    column, top = ("top5_accuracy", "top-5 ") if top5 else ("accuracy", "")
    if target is not None:
        _draw_target(axis, target, top)
    for colour, (label, records) in zip(cycle(), runs.items(), strict=False):
        axis.plot(
            [record.training_seconds for record in records],
            [getattr(record, column) for record in records],
            color=colour,
            lw=2,
            marker="o",
            ms=4,
            label=label_of(label),
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
    axis.set_ylabel(f"validation {top}accuracy in %")
    accuracies = [getattr(record, column) for records in runs.values() for record in records]
    accuracies += [] if target is None else [target]
    low, high = min(accuracies), max(accuracies)
    # The board's labels hang below the target and need room.
    axis.set_ylim(min(low - 2, 40) if board else low - 2, min(high + 4, 101))
    axis.legend(frameon=False, loc="lower right")
    return save(figure, path)


def _draw_target(axis, target, top):
    axis.axhline(target, color=GREY, lw=1, ls="--")
    axis.annotate(
        f"target {target:g} % {top}".rstrip(),
        (0.01, target),
        xycoords=("axes fraction", "data"),
        xytext=(0, 6),
        textcoords="offset points",
        va="bottom",
        color=GREY,
    )


def _board_labels(board):
    """Entries as `(seconds, label)`, those too close to tell apart under one label."""
    groups = []
    for entry in sorted(board, key=lambda entry: entry.seconds):
        # 12 % apart is as close as two upright labels can stand on the logarithmic axis.
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
