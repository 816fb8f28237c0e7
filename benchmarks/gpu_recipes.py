"""The recipes that `gpu.py` runs, each in a process of its own as a user starts it."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def wrn(data_dir, out, tiny):
    """The CIFAR-10 recipe with the one-GPU entry's settings; what its `run.json` says."""
    folder = out / "cifar10_wrn"
    preset = "smoke" if tiny else "dawnbench_1gpu"
    _run(
        ROOT / "recipes" / "cifar10_wrn.py",
        preset=preset,
        dataset="cifar10",
        data_dir=data_dir,
        output_dir=folder,
    )
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    names = ("test_accuracy", "training_seconds", "wall_seconds", "reached")
    return {name: document[name] for name in names}


def record(data_dir, out, tiny, runs, peer_runs):
    """Seeds of the record recipe and of its peer's loop: means, hits and seconds.

    Seeds that an earlier call has run count and are not repeated.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "record.json"
    _run(
        ROOT / "benchmarks" / "record.py",
        preset="smoke" if tiny else "gpu",
        runs=runs,
        peer="airbench94_muon",
        peer_runs=0 if tiny else peer_runs,
        data_dir=data_dir,
        json=path,
        output_dir=out / f"record{runs}",
    )
    return {
        name: {
            "runs": len(results),
            "mean_accuracy": statistics.mean(one["accuracy_tta"] for one in results),
            "reached": sum(one["accuracy_tta"] >= 94 for one in results),
            "median_seconds": statistics.median(one["seconds"] for one in results),
            "accuracies": [one["accuracy_tta"] for one in results],
            "seconds": [one["seconds"] for one in results],
        }
        for name, results in json.loads(path.read_text(encoding="utf-8"))["runs"].items()
        if results
    }


def _run(script, **flags):
    command = [sys.executable, str(script), *(f"--{name}={value}" for name, value in flags.items())]
    subprocess.run(command, check=True)
