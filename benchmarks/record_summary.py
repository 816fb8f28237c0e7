"""What `record.py` prints at last: accuracies and times of all, and ours over each loop's time."""

import statistics

from rich.table import Table

OURS = "keras_dawn"


def table_of(runs, images):
    """The table of all that have run.

    Args:
        runs: dict from whose they are to lists of dicts with `seconds` and `accuracy_tta`.
        images: `ImageSet`, whose counts are told.
    """
    counts = f"{len(images.train_images):,} training and {len(images.test_images):,} test images"
    table = Table(title=f"CIFAR-10, {counts}: test accuracy with several views")
    for column in ("", "runs", "mean", "standard deviation", "≥ 94 %", "seconds: median"):
        table.add_column(column)
    for name, results in runs.items():
        if results:
            accuracies = [result["accuracy_tta"] for result in results]
            table.add_row(
                name,
                str(len(results)),
                f"{statistics.mean(accuracies):.2f} %",
                f"{statistics.stdev(accuracies):.2f}" if len(results) > 1 else "",
                str(sum(accuracy >= 94 for accuracy in accuracies)),
                f"{statistics.median(result['seconds'] for result in results):.1f}",
            )
    return table


def time_ratios(runs, settings):
    """Our time over that of each loop, from the quickest loop on.

    Args:
        runs: dict from whose they are to lists of dicts with `seed` and `seconds`.
        settings: dict, of our preset; one of some images only is small, and compares nothing.

    Returns:
        dict from the loop to a dict: `ratio` of the medians, `smallest` and `largest` of any two
        runs, `runs` and `loop_runs`, how many they are of; `pairs`, the ratios of each run to the
        loop's of the same seed, which came just before it unless a later sitting made it. Empty
        where we or the loops lack, and where nothing is compared.
    """
    if settings["train_images"]:
        return {}
    times = {name: [run["seconds"] for run in found] for name, found in runs.items() if found}
    ours = times.pop(OURS, None)
    if not ours:
        return {}
    by_seed = {name: {run["seed"]: run["seconds"] for run in found} for name, found in runs.items()}
    return {
        name: {
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "smallest": min(ours) / max(theirs),
            "largest": max(ours) / min(theirs),
            "runs": len(ours),
            "loop_runs": len(theirs),
            "pairs": [
                seconds / by_seed[name][seed]
                for seed, seconds in by_seed[OURS].items()
                if seed in by_seed[name]
            ],
        }
        for name, theirs in sorted(times.items(), key=lambda item: statistics.median(item[1]))
    }


def told(name, found):
    """A line of one of the `time_ratios`."""
    counts = f"medians of {found['runs']} and {found['loop_runs']} runs"
    if found["runs"] + found["loop_runs"] > 2:
        counts += f"; single runs {found['smallest']:.3f} to {found['largest']:.3f}"
    pairs = found["pairs"]
    if pairs:
        counts += f"; pairs of one seed {statistics.median(pairs):.3f}"
        counts += f", {min(pairs):.3f} to {max(pairs):.3f}, n = {len(pairs)}"
    return f"time over that of {name}: {found['ratio']:.3f} ({counts})"
