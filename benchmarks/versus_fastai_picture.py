"""The picture of `versus_fastai.py`: accuracy over training time, every seed of both.

python benchmarks/versus_fastai_picture.py results/FILE.json results/FILE.svg
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

matplotlib.rcParams["svg.fonttype"] = "none"  # words as words, in half of the bytes

SIDES = ("ours", "keras_dawn", "tab:blue"), ("fastai", "fastai", "tab:orange")


def draw(document, path):
    """Draws the runs of a document that `versus_fastai.py` has written.

    Args:
        document: dict, with `flags` and `runs`.
        path: str; a file that matplotlib can write.
    """
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for side, label, color in SIDES:
        for seed, run in enumerate(document["runs"]):
            epochs = run[side]["epochs"] if side == "fastai" else run[side]
            seconds, accuracy = zip(*epochs, strict=True)
            said = {"label": label} if seed == 0 else {}
            axes.plot(seconds, accuracy, "o-", color=color, markersize=3, linewidth=1, **said)
    flags = document["flags"]
    axes.set_title(f"{flags['network']}, validated at {flags['size']} px", fontsize=10)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("accuracy in percent")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    source, target = sys.argv[1:]
    draw(json.loads(Path(source).read_text(encoding="utf-8")), target)
