"""The picture of the everyday benchmark: each case's time over that of the loop by hand."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(results, path, phase="train"):
    """Draws accelerated and plain over by hand, a column of cases for each size and policy.

    Args:
        results: dict, as `everyday.run` returns it.
        path: str; a file that matplotlib can write.
        phase: str; "train" or "predict".
    """
    groups = {}
    for name, result in results.items():
        case, *group = name.rsplit(", ", 2)
        if "n/t" in result.get(phase, ()):
            groups.setdefault(", ".join(group), {})[case] = result[phase]
    if not groups:
        return
    height = 1.2 + 0.24 * max(map(len, groups.values()))
    figure, columns = plt.subplots(
        1, len(groups), figsize=(2.5 + 4 * len(groups), height), squeeze=False, layout="constrained"
    )
    contestants = ("p/t", "plain Keras", "tab:gray"), ("n/t", "keras_dawn", "tab:blue")
    for axes, (title, cases) in zip(columns[0], groups.items(), strict=True):
        places = range(len(cases))[::-1]
        for key, label, color in contestants:
            middle, low, high = zip(*(case[key] for case in cases.values()), strict=True)
            axes.hlines(places, low, high, color=color, linewidth=1)
            axes.plot(middle, places, "o", color=color, markersize=4, label=label)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params("x", which="both", labelsize=6)
        axes.set_yticks(list(places), list(cases), fontsize=7)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("time over the loop by hand")
    columns[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=150)
    plt.close(figure)
