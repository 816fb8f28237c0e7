"""The pictures of the page of a run, as text that a page holds."""

import base64
import io

from keras_dawn.plots.style import GREY, as_words, cycle, figure_of, label_of, marker_of
from keras_dawn.plots.training import plot_time_to_accuracy

from PIL import Image

_WIDTH = 900  # pixels; phones show about as many
_DPI = 110
_NARROWEST = 200  # pixels
# Tried in this order until a picture is small enough.
_FORMS = (("png", {"optimize": True}), ("jpeg", {"quality": 80}), ("jpeg", {"quality": 40}))


def embedded(figure):
    """A matplotlib figure as the address of a picture that holds it."""
    file = io.BytesIO()
    as_words(figure).savefig(file, dpi=_DPI, format="png")
    return _address(file.getvalue(), "png")


def embedded_file(path, most_bytes):
    """A picture's file likewise, made smaller where it is wide or large.

    `None` where it is unreadable, or would have to be too small to be seen.

    Args:
        path: of the file.
        most_bytes: int, above which it becomes a JPEG.
    """
    try:
        # Whatever lies in the folder under that name: a broken picture must not cost the page.
        with Image.open(path) as image:
            image = _on_white(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if image.width > _WIDTH:
        image = _scaled(image, _WIDTH)
    for form, settings in _FORMS:
        data = _encoded(image, form, settings)
        if len(data) <= most_bytes:
            return _address(data, form)
    while len(data) > most_bytes and image.width > _NARROWEST:
        image = _scaled(image, image.width // 2)
        data = _encoded(image, form, settings)
    return _address(data, form) if len(data) <= most_bytes else None


def _on_white(image):
    """A picture as RGB; where it is transparent, it is drawn for a white page."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _scaled(image, width):
    return image.resize((width, max(1, round(image.height * width / image.width))))


def _encoded(image, form, settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def time_and_cost(runs):
    """`(title, figure)` of accuracies against training time, and against cost where it is known.

    Args:
        runs: list of `RunRecords` with validated epochs.
    """
    on = {run.document.get("target_on", "accuracy") for run in runs}
    records = {run.name: run.epochs for run in runs if run.epochs}
    targets = {run.document.get("target_accuracy") for run in runs} - {None}
    if not records:
        return
    top5 = on == {"top5"}
    name = "Top-5 accuracy" if top5 else "Accuracy"
    # Of several targets none is that of the picture.
    target = next(iter(targets)) if len(targets) == 1 and len(on) == 1 else None
    if targets:
        figure = plot_time_to_accuracy(records, target, top5=top5)
        yield f"{name} against training time", figure
    priced = [run for run in runs if run.document.get("prices") and run.epochs]
    if priced:
        yield f"{name} against cost", _against_cost(priced, target, top5)


def over_epochs(runs, names, title):
    """Columns of the histories over the epochs, a line a run and a column; `None` if none has any.

    Args:
        runs: list of `RunRecords`.
        names: str, columns of `history.csv`; the second and later ones are dashed.
    """
    figure, (axis,) = figure_of(1, title)
    drawn = False
    for colour, run in zip(cycle(), runs, strict=False):
        for name, dashes in zip(names, ("solid", "dashed"), strict=False):
            points = [(row["epoch"], row[name]) for row in run.rows if {"epoch", name} <= set(row)]
            if points:
                label = f"{run.name}: {name}" if len(runs) > 1 else name
                line = {"color": colour, "linestyle": dashes, "lw": 1.8, "label": label_of(label)}
                axis.plot(*zip(*points, strict=True), **line, marker=marker_of(points))
                drawn = True
    axis.set_xlabel("epoch")
    if drawn:
        axis.legend(frameon=False, fontsize=7)
    return figure if drawn else None


def _against_cost(runs, target, top5):
    figure, (axis,) = figure_of(1, "Accuracy against cost", width=8)
    column, top = ("top5_accuracy", "top-5 ") if top5 else ("accuracy", "")
    if target is not None:
        axis.axhline(target, color=GREY, lw=1, ls="--")
    for colour, run in zip(cycle(), runs, strict=False):
        price = run.document["prices"][0]
        dollars = [e.training_seconds / 3600 * price["usd_per_hour"] for e in run.epochs]
        label = f"{run.name} ({price['kind']})"
        accuracies = [getattr(epoch, column) for epoch in run.epochs]
        axis.plot(dollars, accuracies, color=colour, marker="o", label=label_of(label))
    axis.set_xlabel("cost of the training in USD")
    axis.set_ylabel(f"validation {top}accuracy in %")
    axis.legend(frameon=False)
    return figure


def _address(data, form):
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"
