"""What all recipes share: flags of a run, prices, the result."""

import contextlib
import dataclasses
import datetime
import os
import sys
from pathlib import Path

import keras_dawn
from keras_dawn import ResumeTraining, TimeToAccuracy, dawnbench
from keras_dawn.dawnbench.records import RunFolder
from keras_dawn.dawnbench.time_to_accuracy import check_target
from keras_dawn.foundation.precision import PRECISIONS, best_precision
from keras_dawn.resume.eviction import CLOUDS, EvictionNotice

import torch
from absl import flags

FLAGS = flags.FLAGS


@dataclasses.dataclass
class Result:
    """What one run came to.

    Args:
        timer: `TimeToAccuracy` with the validated epochs and both clocks.
        rows: list of dicts, the history.
        schedule: dict from hyper-parameters to a number for each point of the training.
        epochs: int, those planned.
        interrupted: bool.
        benchmark: `dawnbench.Benchmark` that the run is an entry for, or `None`.
        entry: dict with `model` and `misc` for that entry.
        description: dict for `run.json`.
    """

    timer: TimeToAccuracy
    rows: list
    schedule: dict
    epochs: int
    interrupted: bool
    benchmark: dawnbench.Benchmark | None
    entry: dict
    description: dict


def print_anything():
    """Lets output go on where a terminal or a file lacks a letter: it shows a ? there.

    What is printed to a file on Windows is in the code page of the country, which has no −.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError):  # one that was turned into a pipe
                stream.reconfigure(errors="replace")


def define_common(target, what="test accuracy"):
    """The flags that every recipe has; `target` is the accuracy to reach by default, of `what`."""
    print_anything()
    flags.DEFINE_string("precision", "auto", f"one of: {', '.join(PRECISIONS)}")
    flags.DEFINE_bool("cudnn_benchmark", False, "let cuDNN time its algorithms first")
    flags.DEFINE_float("target", target, f"{what} to reach, in percent")
    flags.DEFINE_float("price_per_hour", None, "on-demand USD per hour of all machines together")
    flags.DEFINE_float("spot_price_per_hour", None, "spot USD per hour of all machines together")
    flags.DEFINE_string("price_source", None, "where the prices are from")
    flags.DEFINE_integer("seed", 0, "seed of the first run")
    flags.DEFINE_integer("runs", 1, "number of runs, each with the next seed", lower_bound=1)
    flags.DEFINE_string(
        "output_dir",
        None,
        "run folder, a new or an empty one; by default a new one in runs/. With --checkpoints the "
        "same command takes it again until its run is finished",
    )
    flags.DEFINE_string(
        "checkpoints", None, "folder to save to and to go on from, with the same command"
    )
    flags.DEFINE_float("checkpoint_seconds", 60.0, "between checkpoints", lower_bound=0.01)
    flags.DEFINE_integer("checkpoint_steps", None, "also save every so many steps", lower_bound=1)
    flags.DEFINE_enum("notice", None, CLOUDS, "cloud to ask whether it will take this machine away")
    flags.DEFINE_string("author", "anonymous", "for the DAWNBench entry")
    flags.DEFINE_string("author_email", "", "for the DAWNBench entry")


def define(target, what="test accuracy"):
    """`define_common`, and the flags of recipes that validate and train on several ranks."""
    define_common(target, what)
    flags.DEFINE_bool("stop_at_target", False, "end the training when it is reached")
    flags.DEFINE_bool("synchronize_batch_norm", False, "use the statistics of all processes")
    flags.DEFINE_enum(
        "gradient_compression", None, ["float16", "bfloat16"], "what gradients travel in"
    )


def check_given():
    """Raises `ValueError` for flags with which the first or last run fails, or without effect."""
    check_target(FLAGS.target)
    if not FLAGS.checkpoints:
        refuse_alone(("checkpoint_seconds", "checkpoint_steps", "notice"), "--checkpoints=FOLDER")
    last = FLAGS.seed + FLAGS.runs - 1
    if FLAGS.seed < 0 or last >= 2**32:  # as NumPy's seeds
        raise ValueError(
            f"Seeds go from 0 to {2**32 - 1}; --seed and --runs make {FLAGS.seed} to {last}."
        )


def refuse_alone(names, without):
    """Raises `ValueError` for flags among `names` that were given, where what they need was not."""
    if idle := [f"--{name}" for name in names if FLAGS[name].present]:
        raise ValueError(f"Without {without} there is no use for {', '.join(idle)}.")


def refuse_several_processes(recipe):
    """Raises `ValueError` where torchrun has started several processes of a recipe for one."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(
            f"{recipe} trains in one process, on one device: each of the "
            f"{os.environ['WORLD_SIZE']} that torchrun has started would train by itself. Start it "
            "without torchrun."
        )


def choose_algorithms():
    """Tells cuDNN of `--cudnn_benchmark`: the fastest of those timed, or those that it guesses."""
    torch.backends.cudnn.benchmark = FLAGS.cudnn_benchmark


def read_precision(for_gpu):
    """The dtype policy that `--precision` asks for; `auto` is `for_gpu` where there is a GPU."""
    precision = FLAGS.precision
    if precision not in PRECISIONS:
        raise ValueError(f"--precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
    if precision == "auto":
        precision = for_gpu if keras_dawn.precision.has_gpu() else best_precision()
    return precision


def read_prices():
    """On-demand and spot `Price`s from the flags; the first is the one that costs are in."""
    source = FLAGS.price_source
    today = datetime.date.today()
    prices = []
    for kind, value in (
        ("on-demand", FLAGS.price_per_hour),
        ("spot", FLAGS.spot_price_per_hour),
    ):
        if value is not None:
            if not source:
                raise ValueError("A price needs --price_source, such as a provider's price page.")
            prices.append(dawnbench.Price(value, kind, source, today))
    return prices


def resume_training(subfolder=""):
    """`ResumeTraining` from the flags, or `None` without `--checkpoints`."""
    if not FLAGS.checkpoints:
        return None
    return ResumeTraining(
        Path(FLAGS.checkpoints).expanduser() / subfolder,
        every_steps=FLAGS.checkpoint_steps,
        every_seconds=FLAGS.checkpoint_seconds,
        notice=EvictionNotice(FLAGS.notice) if FLAGS.notice else None,
    )


def of_resumption(resume):
    """What `run.json` says of a training that may have gone on from a checkpoint.

    Args:
        resume: `ResumeTraining`, or `None` without checkpoints.

    Returns:
        dict: `paid`, what all processes took, on rank 0 (`None` without checkpoints); `taken_up`,
        the settings that were changed while it went on; `not_taken_up`, those that a complete
        training was not made with.
    """
    # Target and price are of what is measured now.
    others = [] if resume is None else resume.not_taken_up
    return {
        "paid": _paid_time(resume),
        "taken_up": [] if resume is None else resume.taken_up,
        "not_taken_up": [words for words in others if " of TimeToAccuracy " not in words],
    }


def _paid_time(resume):
    if resume is None or not keras_dawn.distributed.current().is_main or not resume.paid.processes:
        return None
    resume.paid.note()
    return {"processes": resume.paid.processes, "seconds": resume.paid.seconds()}


def run_folder(recipe, dataset, preset):
    """The run's `RunFolder`: `--output_dir`, which a run with checkpoints takes again when it goes
    on, or a new one.

    Raises:
        FileExistsError: a folder of another run, or of one that is finished.
    """
    run = None
    if FLAGS.checkpoints:
        names = ("checkpoints", "seed", "runs")
        run = {"recipe": recipe, **{name: FLAGS[name].value for name in names}}
    path = FLAGS.output_dir or new_folder(recipe, dataset, preset)
    return RunFolder(path, run)


def new_folder(recipe, dataset, preset):
    """A new folder's path in `runs/`, named after the run and the moment."""
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{recipe}-{dataset}-{preset}-{moment}"
