"""The recipes that `gpu.py` runs, each in a process of its own as a user starts it."""

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

from absl import flags

FLAGS = flags.FLAGS
ROOT = Path(__file__).parent.parent


def wrn(cases):
    """The CIFAR-10 recipe with the one-GPU entry's settings, two seeds of it."""
    for seed in (0,) if FLAGS.tiny else (0, 1):
        name = f"dawnbench_1gpu, seed {seed}"
        if not cases.is_missing(name):
            continue
        folder = new_folder(f"cifar10_wrn_seed{seed}")
        with _running(
            ROOT / "recipes" / "cifar10_wrn.py",
            preset="smoke" if FLAGS.tiny else "dawnbench_1gpu",
            dataset="cifar10",
            data_dir=FLAGS.data_dir,
            seed=seed,
            output_dir=folder,
        ) as process:
            _ended_well(process)
        document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        names = ("test_accuracy", "training_seconds", "wall_seconds", "reached")
        cases.keep(name, {name: document[name] for name in names})


def record(cases):
    """One seed of the record recipe and one of each loop."""
    _record(cases, 1)


def seeds(cases):
    """20 seeds more of the recipe and 4 more of each loop."""
    _record(cases, 2 if FLAGS.tiny else 21)


def _record(cases, runs):
    """Makes the first runs of `record.py` and keeps what it has found after each seed.

    Seeds that an earlier call has run count and are not repeated, on the same machine; all are of
    one plan, so that its results may be submitted.
    """
    path = Path(FLAGS.runs_dir) / "record.json"
    earlier = cases.found.get("runs")
    if earlier and not path.exists():  # another machine of the same kind
        path.write_text(json.dumps(earlier), encoding="utf-8")
    with _running(
        ROOT / "benchmarks" / "record.py",
        preset="smoke" if FLAGS.tiny else "gpu",
        runs=2 if FLAGS.tiny else 21,
        first_runs=runs,
        peer=["airbench94_muon", "hiverge"],
        peer_runs=0 if FLAGS.tiny else 5,
        data_dir=FLAGS.data_dir,
        json=path,
        output_dir=new_folder(f"record{runs}"),
        **({"commit": FLAGS.commit} if FLAGS.commit else {}),
    ) as process:
        seen = None
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            if path.exists() and path.stat().st_mtime_ns != seen:
                seen = path.stat().st_mtime_ns
                with contextlib.suppress(json.JSONDecodeError):  # being written
                    _keep(cases, json.loads(path.read_text(encoding="utf-8")))
        _ended_well(process)
    _keep(cases, json.loads(path.read_text(encoding="utf-8")))


def new_folder(name):
    """A folder that does not exist yet: a part that was cut off has left its own."""
    folders = (Path(FLAGS.runs_dir) / f"{name}_call{call}" for call in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


def _keep(cases, document):
    for name, results in document["runs"].items():
        if results:
            cases.keep(name, summary(results))
    cases.keep("runs", document)


def summary(results):
    """Mean, hits and seconds of one contestant's runs."""
    accuracies = [one["accuracy_tta"] for one in results]
    return {
        "count": len(results),
        "mean_accuracy": statistics.mean(accuracies),
        "reached": sum(accuracy >= 94 for accuracy in accuracies),
        "median_seconds": statistics.median(one["seconds"] for one in results),
        "fastest_seconds": min(one["seconds"] for one in results),
    }


@contextlib.contextmanager
def _running(script, **flags_of_it):
    flags_of_it["cudnn_benchmark"] = str(FLAGS.cudnn_benchmark).lower()
    given = [
        f"--{name}={value}"
        for name, values in flags_of_it.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    with subprocess.Popen([sys.executable, "-u", str(script), *given]) as process:
        yield process


def _ended_well(process):
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, process.args)
