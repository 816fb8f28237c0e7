"""ImageNet's training rehearsed without ImageNet: as many photos, as many classes, all phases.

    python benchmarks/imagenet_rehearsal.py --json=FILE
    python benchmarks/imagenet_rehearsal.py --images=20000 --classes=100    # small

A synthetic tree of 1,281,167 photos in 1,000 folders (links to a photo a class, so that it takes
directories and little more), the same as ImageNet's tar file of tar files, and 50,000 photos to
validate on. Parts, each in a process of its own:

* `tree`, `tar`: seconds to the first batch of the recipe's data, by the clock and of the processor,
  and memory, of a rank that starts.
* `tree_8`, `tar_8`: the same of 8 ranks that start at once, and of the first of them to the last.
* `order`: an epoch of 8 ranks serves each photo once, the same whatever rank asks; another epoch
  another order.
* `epoch`: an epoch of `--epoch_images` photos at 32 px by `--ranks` processes that train an
  accelerated ResNet-18 on them: each is served once, and the memory of each process, a tenth at a
  time.
* `validation`: 8 ranks validate on 50,000 photos through `fit_plan`, and what the entry would say
  of them is compared, with answers that differ from photo to photo: all, without 1,762 of a list,
  and with three in the last batch.
* `phases`: all phases of the entry's plan, 45 epochs of 20 steps, and of imagenet18's for four
  machines, 30 epochs of 4, through `fit_plan` with an accelerated tiny network and the recipe's
  data and optimizer: pixels, batch, rate, momentum and decay of each step, crops, which copies are
  read, and what each epoch is validated on, against the plan. On photos of its own, with copies of
  160 and 352 px made by `prepare`.
* `killed`: the recipe on `--ranks` of them, one of which is killed in mid-epoch: the others end,
  the same command goes on, and the last checkpoint has the bits of an unbroken run's. Linux
  only.
* `photos`: with `--photos_dir` (Imagewoof, for instance), the entry's 45 epochs of real photos with
  ImageNet's flags, a list of photos to leave out included, on two ranks: a ResNet-18, batches of a
  32nd. This part is not among those that run by default.

The parts are in `imagenet_rehearsal_parts.py` and its neighbours. The tree is removed
at the end. Nothing here says how fast a GPU trains.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import command_line
import imagenet_rehearsal_parts
import imagenet_rehearsal_phases
import imagenet_rehearsal_runs
import imagenet_rehearsal_validation
from absl import flags
from imagenet_rehearsal_parts import BATCH
from rich.console import Console
from rich.table import Table
from synthetic_imagenet import make_folders

FLAGS = flags.FLAGS
PARTS = ("tree", "tar", "tree_8", "tar_8", "order", "epoch", "validation", "phases", "killed")
SIZES = (
    "images",
    "classes",
    "validation_images",
    "epoch_images",
    "ranks",
    "photos_dir",
    "photos_a_class",
)


def run_part(name, folder):
    """A part in a process of its own; its result, or how it ended, and its command."""
    given = [f"--{flag}={FLAGS[flag].value}" for flag in SIZES if FLAGS[flag].value is not None]
    out = folder / f"{name}.json"
    command = [sys.executable, __file__, f"--part={name}", f"--scratch={folder}", *given]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    told = [f"--{flag}=FOLDER" if flag.endswith("_dir") else f"--{flag}={FLAGS[flag].value}"
            for flag in SIZES if FLAGS[flag].value is not None]  # fmt: skip
    command = {"command": [Path(__file__).name, f"--parts={name}", *told]}
    if done.returncode:
        return {"failed": done.stderr.strip().split("\n")[-1], **command}
    return {**json.loads(out.read_text(encoding="utf-8")), **command}


def check_flags():
    """Ends the process for flags with which a part, or the file of all, would fail at the end."""
    least = min(FLAGS.images, FLAGS.validation_images)  # a photo a class is written in any case
    if FLAGS.classes > least:
        sys.exit(f"--classes={FLAGS.classes} must be at most {least}, the photos of train or val.")
    if "photos" in FLAGS.parts and not FLAGS.photos_dir:
        sys.exit("The part `photos` needs --photos_dir=FOLDER, with train/ and val/ in it.")
    if "photos" in FLAGS.parts and not (Path(FLAGS.photos_dir) / "train").is_dir():
        sys.exit(f"--photos_dir={FLAGS.photos_dir} must have train/ and val/ in it.")
    for flag, is_there in (
        ("scratch", FLAGS.scratch is None or Path(FLAGS.scratch).is_dir()),
        ("json", FLAGS.json is None or Path(FLAGS.json).absolute().parent.is_dir()),
    ):
        if not is_there:
            sys.exit(f"The folder of --{flag}={FLAGS[flag].value} is not there: make it first.")


def main(arguments):
    if FLAGS.part:
        folder = Path(FLAGS.scratch)
        rooms = (
            imagenet_rehearsal_parts,
            imagenet_rehearsal_phases,
            imagenet_rehearsal_runs,
            imagenet_rehearsal_validation,
        )
        found = next(vars(room)[FLAGS.part] for room in rooms if FLAGS.part in vars(room))(folder)
        (folder / f"{FLAGS.part}.json").write_text(json.dumps(found), encoding="utf-8")
        return
    check_flags()
    folder = Path(FLAGS.keep or tempfile.mkdtemp(dir=FLAGS.scratch))
    results = {}
    try:
        begin = time.perf_counter()
        if not (folder / "tars").is_dir():
            make_folders(folder, FLAGS.images, FLAGS.classes, FLAGS.validation_images)
        print(f"{FLAGS.images} photos in {time.perf_counter() - begin:.0f} s", flush=True)
        for name in FLAGS.parts or PARTS:
            results[name] = run_part(name, folder)
            print(f"{name}: {'; '.join(lines_of(results[name]))}", flush=True)
    finally:
        if not FLAGS.keep:
            shutil.rmtree(folder)
    table = Table(title=f"{FLAGS.images:,} photos, {FLAGS.classes:,} classes")
    table.add_column("part")
    table.add_column("found", overflow="fold")
    for name, found in results.items():
        table.add_row(name, "\n".join(lines_of(found)))
    Console(markup=False, emoji=False).print(table)  # brackets of an error are no markup
    if FLAGS.json:
        from keras_dawn.dawnbench.records import environment

        document = {**environment(), "load": os.getloadavg(), "parts": results}
        Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if any("failed" in found for found in results.values()):
        sys.exit(1)


def lines_of(result):
    """What a part has found, without its command: a line for each value, names of parts before it.

    Numbers have four digits, and a list of more than three numbers is its smallest and largest; all
    of them are in the `--json` file.
    """
    return list(_lines({name: value for name, value in result.items() if name != "command"}, ()))


def _lines(value, names):
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        value = {str(number): one for number, one in enumerate(value, 1)}
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _lines(one, (*names, name.replace("_", " ")))
    else:
        yield f"{', '.join(names)}: {_told(value)}"


def _told(value):
    if isinstance(value, list):
        if len(value) > 3 and all(isinstance(one, int | float) for one in value):
            return f"{len(value)} from {_told(min(value))} to {_told(max(value))}"
        return ", ".join(map(_told, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    flags.DEFINE_integer("images", 1_281_167, "training photos, at least a batch of 8 × 192", BATCH)
    flags.DEFINE_integer("classes", 1000, "classes", 10)
    flags.DEFINE_integer(
        "validation_images",
        50_000,
        "validation photos, as many of each class, a batch of 256 and three more or more",
        imagenet_rehearsal_validation.BATCH + 3,  # of fewer than ranks, each rank reads all
    )
    flags.DEFINE_integer(
        "epoch_images", 1_281_167, "photos of the epoch of `epoch`, a batch or more", BATCH
    )
    flags.DEFINE_integer("ranks", 2, "processes of `epoch` and of `killed`", 2)
    flags.DEFINE_string("photos_dir", None, "folder of real photos, for the part `photos`")
    flags.DEFINE_integer("photos_a_class", 60, "of those, to train on; half as many to validate", 6)
    flags.DEFINE_multi_enum("parts", [], [*PARTS, "photos"], "some parts only")
    flags.DEFINE_string("scratch", None, "folder to make the photos in")
    flags.DEFINE_string("keep", None, "make the photos in this folder and leave them there")
    flags.DEFINE_string("json", None, "file to write")
    flags.DEFINE_enum("part", None, [*PARTS, "photos"], "used by the script itself")
    command_line.run(main)
