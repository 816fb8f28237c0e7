"""Beside fastai: the same network and photos, each by its own best practice, on the same cores.

    python benchmarks/versus_fastai.py --folder=FOLDER --json=FILE --picture=FILE

FOLDER has `train/` and `val/` with a folder a class. fastai trains 5 epochs at 128 pixels with
`fit_one_cycle`, its default transforms, and the rate of its own finder. Ours trains a plan whose
images grow to 128 pixels. Its highest rate is chosen on a split of the training photos
(`--tune` prints the choice), never on the validation photos. Both networks are validated on the
same crops of the validation photos at 128 pixels after every epoch, outside both clocks. The
figure is the time until ours has reached fastai's final accuracy, over fastai's time; where it
never does, the row says so. The two take turns, and begin by turns, seed by seed.
"""

import importlib.metadata
import json
import statistics
from pathlib import Path

from keras_dawn import one_cycle_by_size
from keras_dawn.data.photos import (
    ImageFolder,
    ValidationImages,
    split,
)
from keras_dawn.dawnbench.records import environment
from keras_dawn.foundation.counted import counted
from keras_dawn.plans import Crops

import command_line
from absl import flags
from growing_photos import sizes_of, train
from rich.console import Console
from rich.table import Table
from versus_fastai_picture import draw

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "folder with train/ and val/", required=True)
flags.DEFINE_enum("network", "resnet18", ["resnet18", "resnet50"], "the network of both")
flags.DEFINE_integer("seeds", 3, "seeds", lower_bound=1)
flags.DEFINE_integer("size", 128, "pixels at the end, and in validation", lower_bound=8)
flags.DEFINE_integer("batch_size", 64, "images a step", lower_bound=1)
flags.DEFINE_integer("fastai_epochs", 5, "fastai's epochs", lower_bound=1)
flags.DEFINE_integer("workers", 2, "fastai's loading processes", lower_bound=0)
flags.DEFINE_integer("epochs", 8, "our epochs", lower_bound=2)
flags.DEFINE_list("sizes", ["0.0:64", "0.5:96", "0.85:128"], "fraction of our training : pixels")
flags.DEFINE_float("max_lr", 0.2, "our highest rate", lower_bound=1e-6)
flags.DEFINE_list("rates", ["0.1", "0.2", "0.4"], "what --tune chooses from")
flags.DEFINE_bool("tune", False, "choose our rate on a split of the training photos, and end")
flags.DEFINE_string("json", None, "file to write the results to")
flags.DEFINE_string("picture", None, "file to draw both sides' accuracy over time to")
_OWN = (
    "network",
    "seeds",
    "size",
    "batch_size",
    "fastai_epochs",
    "workers",
    "epochs",
    "sizes",
    "max_lr",
)


def our_plan(rate):
    """Our plan at a highest rate."""
    return one_cycle_by_size(
        sizes_of(FLAGS.sizes),
        FLAGS.epochs,
        batch_size=FLAGS.batch_size,
        max_lr=rate,
        weight_decay=1e-3,
        crops=Crops((0.35, 1.0)),
        validation=FLAGS.size,
    )


def train_ours(train_source, val_source, rate, seed):
    """`(training seconds, accuracy in percent)` after every epoch."""
    depth = int(FLAGS.network.removeprefix("resnet"))
    return train(depth, our_plan(rate), rate, seed, train_source, val_source, target=100.0)


def train_theirs(val_source, seed):
    """fastai's training, judged on the crops that ours is judged on."""
    import versus_fastai_peer as peer

    def judge(module):
        return peer.accuracy_of(module, ValidationImages(val_source, 128, image_size=FLAGS.size))

    settings = {
        "size": FLAGS.size,
        "batch_size": FLAGS.batch_size,
        "epochs": FLAGS.fastai_epochs,
        "workers": FLAGS.workers,
    }
    return peer.train(FLAGS.folder, FLAGS.network, settings, seed, judge)


def compare(ours, theirs):
    """What one seed gave: `ratio` is `None` where ours never reached fastai's final accuracy."""
    seconds, target = theirs["epochs"][-1]
    reached = next((time for time, accuracy in ours if accuracy >= target), None)
    return {
        "fastai_seconds": seconds,
        "fastai_accuracy": target,
        "our_seconds": ours[-1][0],
        "our_accuracy": ours[-1][1],
        "seconds_until_fastais_accuracy": reached,
        "ratio": None if reached is None else reached / seconds,
    }


def tune(train_source):
    """The rate with the best accuracy on a fifth of the training photos."""
    part, held_out = split(train_source, 0.2, seed=0)
    found = {rate: train_ours(part, held_out, float(rate), 0)[-1][1] for rate in FLAGS.rates}
    for rate, accuracy in found.items():
        print(f"max_lr={rate}: {accuracy:.2f} % on a fifth of the training photos")
    print(f"--max_lr={max(found, key=found.get)}")


def table_of(rows):
    """One line a seed, and the mean and spread of the ratios."""
    table = Table(title=f"{FLAGS.network}, validated at {FLAGS.size} pixels", caption=_spread(rows))
    for column in ("seed", "fastai", "ours", "ours until fastai's accuracy", "of fastai's time"):
        table.add_column(column)
    for seed, row in enumerate(rows):
        reached = row["seconds_until_fastais_accuracy"]
        table.add_row(
            str(seed),
            f"{row['fastai_accuracy']:.2f} % in {row['fastai_seconds']:.0f} s",
            f"{row['our_accuracy']:.2f} % in {row['our_seconds']:.0f} s",
            "never" if reached is None else f"{reached:.0f} s",
            "–" if reached is None else f"{row['ratio']:.2f}",
        )
    return table


def _spread(rows):
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    if not ratios:
        return "no seed reached fastai's accuracy"
    deviation = statistics.stdev(ratios) if len(ratios) > 1 else 0.0
    of_all = f"in {len(ratios)} of {counted(len(rows), 'seed')}"
    return f"{statistics.mean(ratios):.2f} ± {deviation:.2f} {of_all}"


def main(argv):
    folder = Path(FLAGS.folder)
    train_source = ImageFolder(folder / "train")
    if FLAGS.tune:
        tune(train_source)
        return
    val_source = ImageFolder(folder / "val", train_source.class_names)
    rows, runs = [], []
    for seed in range(FLAGS.seeds):
        sides = {
            "fastai": lambda seed=seed: train_theirs(val_source, seed),
            "ours": lambda seed=seed: train_ours(train_source, val_source, FLAGS.max_lr, seed),
        }
        order = ("fastai", "ours") if seed % 2 == 0 else ("ours", "fastai")
        made = {side: sides[side]() for side in order}
        rows.append(compare(made["ours"], made["fastai"]))
        runs.append(made)
        Console().print(table_of(rows))
        document = {
            **environment(),
            "fastai": importlib.metadata.version("fastai"),
            "flags": {name: FLAGS[name].value for name in _OWN},
            "rows": rows,
            "runs": runs,
        }
        if FLAGS.picture:
            draw(document, FLAGS.picture)
        if FLAGS.json:  # after every seed: the next one may be cut off
            text = json.dumps(document, indent=1, default=str) + "\n"
            Path(FLAGS.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
