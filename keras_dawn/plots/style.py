"""The one look of every picture.

The colours are Okabe and Ito's, which people with any colour vision tell apart.
"""

import os

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F"
SKY, AMBER = "#56B4E9", "#E69F00"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER)


def figure_of(panels, title, width=7, height=None):
    """A figure with panels one under another, and its axes.

    Args:
        panels: int. title: str.
        width, height: inches.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = empty_figure(width, height or (4 if panels == 1 else 2.4 * panels))
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for axis in axes:
        plain(axis)
    axes[0].set_title(title, loc="left", fontweight="bold")
    return figure, axes


def empty_figure(width, height):
    """A figure of so many inches, without axes."""
    try:
        # Not pyplot, which keeps every figure and looks for a screen.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install 'keras_dawn[plots]'.") from error
    return Figure(figsize=(width, height), layout="constrained")


def plain(axis):
    """Takes away what is not needed to read an axis, and adds a faint grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)


def whole_epochs(axis):
    """Labels the epoch axis of values that there are once an epoch."""
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)


def numbers_on_log_axis(axis):
    """Labels `axes.xaxis` or `axes.yaxis`, logarithmic, with plain numbers.

    matplotlib's own labels are formulas, which `as_words` would show as they are written.
    """

    def number(value, position):
        low, high = axis.get_view_interval()
        digits = "125" if high < 1000 * low else "1"  # of more decades more would not fit
        return f"{value:g}" if f"{value:.0e}"[0] in digits else ""

    axis.set_major_formatter(number)
    axis.set_minor_formatter(number)


def cycle():
    """The colours, again and again."""
    while True:
        yield from COLOURS


def label_of(name):
    """A name for the legend, from which matplotlib leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def marker_of(points):
    """How each point of a line is marked: a line of one alone would not be seen."""
    return "o" if len(points) == 1 else None


def as_words(figure):
    """Leaves dollar signs in names as they are, which would begin and end a formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def save(figure, path):
    """Writes the figure if there is a path, and returns it."""
    as_words(figure)
    if path is not None:
        is_name = isinstance(path, (str, os.PathLike))
        figure.savefig(os.path.expanduser(path) if is_name else path, dpi=150)
    return figure
