"""Activations and gradients of the layers over time."""

from keras_dawn.plots.style import figure_of, label_of, marker_of, numbers_on_log_axis, save

_PANELS = {
    "mean": "mean of the output",
    "std": "spread of the output",
    "near_zero": "fraction near 0",
    "gradient_norm": "gradient norm",
}


def plot_layer_statistics(rows, path=None):
    """Mean, spread and fraction near zero of each layer's output, and its gradient's norm.

    Args:
        rows: `LayerStatistics.rows`.
        path: file to write, or `None`.

    Returns:
        `matplotlib.figure.Figure`. Layers go from dark (the first) to light (the last).

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("There are no rows to draw: train with LayerStatistics first.")
    figure, axes = figure_of(len(_PANELS), "Inside the layers", width=8, height=9)
    # Here, so that the package is imported without matplotlib.
    from matplotlib import colormaps

    layers = list(dict.fromkeys(row["layer"] for row in rows))
    for number, layer in enumerate(layers):
        colour = colormaps["viridis"](0.9 * number / max(1, len(layers) - 1))
        own = [row for row in rows if row["layer"] == layer]
        steps = [row["step"] for row in own]
        for axis, name in zip(axes, _PANELS, strict=True):
            line = {"color": colour, "lw": 1.5, "label": label_of(layer)}
            axis.plot(steps, [row[name] for row in own], **line, marker=marker_of(steps))
    for axis, (name, text) in zip(axes, _PANELS.items(), strict=True):
        axis.set_ylabel(text)
        if name == "gradient_norm" and any(row[name] > 0 for row in rows):
            axis.set_yscale("log")
            numbers_on_log_axis(axis.yaxis)
    axes[-1].set_xlabel("step")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    return save(figure, path)
