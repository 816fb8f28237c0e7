r"""The table of records on CIFAR-10: checks what was submitted, and writes the page.

    python benchmarks/records_table.py                  # checks all, writes records/README.md
    python benchmarks/records_table.py --add=NAME --runs=FILE --folder=FOLDER --log=FILE \
        --author=NAME

`--add` makes a submission of what `record.py --json=FILE --output_dir=FOLDER` has left and printed:
`submissions.py` says what it consists of. `--series="keras_dawn=what it is"` says it in other words
than the command and the settings of the runs do, `--note="…"` what a reader of the row should know.
"""

import collections
import json
import math
import sys
from pathlib import Path

from keras_dawn.dawnbench import CIFAR10_BOARD
from keras_dawn.foundation.counted import counted

import command_line
import submissions
from absl import flags
from submission_making import make

FLAGS = flags.FLAGS
PAGE = submissions.RECORDS / "README.md"
CLASSES = ("Processors", "One GPU", "Several GPUs")
CAN_BE_SHORTEST = ("on the board", "published", "shown")
OF_ADDING = ("runs", "folder", "log", "author", "series", "note")  # flags
ENOUGH_RUNS = 5  # for a mean to be shown: Student's test of fewer leans on their being normal
HEAD = f"""# Records on CIFAR-10: {submissions.TARGET:g} % of the test images

Written by `benchmarks/records_table.py`, which checks all that was submitted; do not edit it.

Times are of different machines and of several clocks; a row is compared with its own kind only:

* *DAWNBench*: loading the data, building the network and training; validation may be left out
  (fast.ai's two times have it in them, and so they are the longer). Rows of the benchmark's board
  (2018 to 2020) are single runs, read off their entries when first at 94 %; the seventeen of
  Stanford's own baselines (2017, hours) are left out.
* *training*: whitening and training, data resident on the device, evaluation left out; the median.
  Normalising, padding and the first flips of all images lie inside it in the publications and in
  `cifar10_record.py`, and before it in a plain loop here, whose time is the shorter for it. No
  plain loop is compiled; two of the three are published so.
* *airbench*: that with the evaluation by several views, after one run to warm up; the mean.
* *the author's*: their own, of a training without evaluation.

Rows of the last two are as published and were not run here; what their authors do not state is
*not stated*. Hiverge's p, spread and mean are of the 2,000 runs in the repository's logs; those of
1.99 s are of its logs of 2025-10-17 as a fork has them (`dhruvjatkar/cifar10-speedrun`, 87b7ff8),
where the mean time is 1.980 s.

"p" is the chance of such a mean or a higher one if the true mean were {submissions.TARGET:g} %
(Student's test, one-sided); with p < 0.05 of {ENOUGH_RUNS} runs or more the mean is *shown* to be
above. It does not know of settings that were tried before on the same test images: notes tell them.
**Bold** times were the shortest of their clock and hardware when they came, among rows that are
shown, published by their authors, or on the benchmark's board. USD are at the on-demand prices that
the entries state, of such a machine and no bill; what `about.json` states has its source and day
there. *Cut off* are runs that were begun and not finished, then run again from their beginning;
rows that tell no number are of plans from before 7:00 UTC on 2026-11-28, when none were counted.
Submissions that are older than this table lack files, as their rows say; `about.json` says why, and
what their entry was made of where the run had left none. How to add a row is in
[CONTRIBUTING](../../.github/CONTRIBUTING.md).
"""


def main(arguments):
    needless = [name for name in OF_ADDING if FLAGS[name].present]
    if needless and not FLAGS.add:
        sys.exit(f"--{' and --'.join(needless)} need --add=NAME (--help says what it is)")
    if FLAGS.add:
        if Path(FLAGS.add).name != FLAGS.add:
            sys.exit(f"--add={FLAGS.add} must be the name of a folder in {submissions.RECORDS}.")
        folder = submissions.RECORDS / FLAGS.add
        names = dict(each.partition("=")[::2] for each in FLAGS.series)
        lacking = [name for name in ("runs", "folder", "log") if not FLAGS[name].value]
        if lacking:
            sys.exit(f"--add needs --{' and --'.join(lacking)} too (--help says what they are)")
        given = [Path(FLAGS[name].value) for name in ("runs", "folder", "log")]
        try:
            make(folder, *given, FLAGS.author, names, FLAGS.note)
        except (ValueError, OSError) as error:
            sys.exit(f"Not added:\n{error}")
        print(f"{folder} is made.")
    try:
        found = submitted()
    except ValueError as error:
        sys.exit(f"{PAGE} is not written:\n{error}")
    PAGE.write_text(page(found), encoding="utf-8")
    print(
        "All submissions are consistent in themselves (none was run again); "
        f"{PAGE.name} is written."
    )


def submitted():
    """The `Series` of all submissions.

    Raises:
        ValueError: all that is wrong with one.
    """
    folders = sorted(path for path in submissions.RECORDS.iterdir() if path.is_dir())
    return submissions.read_all(folders)


def page(found):
    """The page's text: a section for each class of hardware, rows in the order they came in."""
    rows = [*map(_board_row, CIFAR10_BOARD), *map(_published_row, _published())]
    rows += map(_series_row, found)
    lines = [HEAD]
    for name in CLASSES:
        lines += [f"## {name}", "", *_table([row for row in rows if row["class"] == name]), ""]
    return "\n".join(lines)


def _table(rows):
    columns = ("date", "who", "what", "on", "time", "clock", "runs", "accuracy", "p", "94 %", "USD")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    shortest = {}  # by clock and hardware
    for row in sorted(rows, key=lambda row: (row["came"], -row["seconds"])):
        time, kind = f"{row['seconds']:.4g} s", (row["clock"], row["on"])
        if row["94 %"] in CAN_BE_SHORTEST and row["seconds"] < shortest.get(kind, math.inf):
            shortest[kind], time = row["seconds"], f"**{time}**"
        lines.append("| " + " | ".join(str({**row, "time": time}[name]) for name in columns) + " |")
    return lines


def _board_row(entry):
    return {
        "class": _class(0 if "×" not in entry.hardware else int(entry.hardware.split(" ")[0])),
        "date": entry.date.isoformat(),
        "came": entry.date.isoformat(),
        "who": entry.author,
        "what": entry.model,
        "on": entry.hardware,
        "seconds": entry.seconds,
        "clock": "DAWNBench",
        "runs": 1,
        "accuracy": "≥ 94 %",
        "p": "",
        "94 %": "on the board",
        "USD": "" if entry.cost is None else f"{entry.cost:.4f}",
    }


def _published_row(row):
    return {
        "class": _class(int(row["hardware"].split(" ")[0])),
        "date": row["date"],
        "came": row["date"],
        "who": row["author"],
        "what": f"{row['model']} ([published]({row['source']}))",
        "on": row["hardware"],
        "seconds": row["seconds"],
        "clock": row["clock"],
        "runs": row["runs"] or "not stated",
        "accuracy": "94 %, mean not stated" if row["mean"] is None else _accuracy(**row),
        "p": row["p"] or "not stated",
        "94 %": "published",
        "USD": "",
    }


def _series_row(series):
    machine = series.hardware
    gpus = machine["gpus"]
    named = " + ".join(f"{n} × {name}" for name, n in collections.Counter(gpus).items())
    p_value = series.p_value
    processor = machine["processor"]
    if machine.get("instructions"):
        processor += f" ({machine['instructions']})"
    note = f". {series.note}" if series.note else ""
    again = f", {series.cut_off} cut off" if series.cut_off is not None else ""
    lacking = f", without {' and '.join(series.lacks)}" if series.lacks else ""
    if series.mean < submissions.TARGET:
        told = "below"
    elif p_value is None:
        told = "single run" if len(series.runs) == 1 else "not shown"
    else:
        told = "shown" if p_value < 0.05 and len(series.runs) >= ENOUGH_RUNS else "not shown"
    return {
        "class": _class(len(gpus)),
        "date": series.ended.date().isoformat(),
        "came": series.ended.isoformat(),
        "who": series.author,
        "what": f"{series.name} ([submission]({series.folder}/about.json){lacking}){note}",
        "on": named or f"{counted(machine['cores'], 'core')}, {processor}",
        "seconds": series.seconds,
        "clock": "training",
        "runs": f"{len(series.runs)}, {_seeds(series.runs)}{again}",
        "accuracy": _accuracy(series.mean, series.deviation),
        "p": "" if p_value is None else f"{p_value:.3f}",
        "94 %": told,
        "USD": "" if series.cost is None else f"{series.cost:.4f}",
    }


def _seeds(runs):
    """The seeds of runs, which follow each other, as text."""
    first, last = (choose(run["seed"] for run in runs) for choose in (min, max))
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def _accuracy(mean, deviation, **others):
    return f"{mean:.2f} %" + ("" if deviation is None else f" ± {deviation:.2f}")


def _class(gpus):
    return CLASSES[min(gpus, 2)]


def _published():
    path = submissions.RECORDS / "published.json"
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    flags.DEFINE_string("add", None, "name of a submission to make, such as 2026-12-01_two_cores")
    flags.DEFINE_string("runs", None, "the results file of record.py")
    flags.DEFINE_string("folder", None, "record.py's --output_dir, or a folder that it is in")
    flags.DEFINE_string("log", None, "what record.py has printed")
    flags.DEFINE_string("author", "anonymous", "whose runs they are")
    flags.DEFINE_multi_string("series", [], "NAME=what it is, of a series of the runs")
    flags.DEFINE_string("note", None, "what a reader of the row should know, in a sentence or two")
    command_line.run(main)
