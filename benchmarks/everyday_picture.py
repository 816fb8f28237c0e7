"""The picture of the everyday benchmark: each case's time over that of the loop by hand."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from everyday_measure import PHASES

matplotlib.rcParams["svg.fonttype"] = "none"  # words as words, in half of the bytes

CONTESTANTS = (
    ("p/t", "plain Keras", "tab:gray"), ("n/t", "keras_dawn", "tab:blue"),
    ("c/t", "keras_dawn, compiled", "tab:orange"),
)  # fmt: skip


def draw(results, path):
    """Draws accelerated, plain and compiled over by hand.

    A column of cases for each size and policy; above what training takes, below what `predict`.

    Args:
        results: dict, as `everyday.run` returns it.
        path: str; a file that matplotlib can write.
    """
    groups = {}
    for name, result in results.items():
        case, *group = name.rsplit(", ", 2)
        if "error" not in result and "n/t" in result["train"]:
            groups.setdefault(", ".join(group), {})[case] = result
    if not groups:
        return
    height = 1.2 + 0.24 * max(map(len, groups.values()))
    figure, rows = plt.subplots(
        len(PHASES), len(groups), figsize=(2.5 + 4 * len(groups), len(PHASES) * height),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for phase, row in zip(PHASES, rows, strict=True):
        for axes, (title, cases) in zip(row, groups.items(), strict=True):
            _draw_group(axes, {case: result[phase] for case, result in cases.items()})
            axes.set_title(f"{phase}, {title}", fontsize=9)
    rows[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_group(axes, cases):
    places = dict(zip(cases, range(len(cases))[::-1], strict=True))
    for key, label, color in CONTESTANTS:
        found = {places[case]: times[key] for case, times in cases.items() if key in times}
        if not found:
            continue
        middle, low, high = zip(*found.values(), strict=True)
        axes.hlines(list(found), low, high, color=color, linewidth=1)
        axes.plot(middle, list(found), "o", color=color, markersize=4, label=label)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params("x", which="both", labelsize=6)
    axes.set_yticks(list(places.values()), list(places), fontsize=7)
    axes.set_xlabel("time over the loop by hand")
