"""What a recipe writes: the run folder with its records, entry and pictures."""

import re
from datetime import date

from keras_dawn import dawnbench, plots
from keras_dawn._version import __version__
from keras_dawn.distributed import current

from recipe_parts import reporting


def save(result, folder, prices, author, author_email):
    """Writes the run folder, on rank 0; returns whether all of it could be written.

    The numbers are on the screen already, so a full disk loses the files only.
    """
    if not current().is_main:
        return True
    timer, records = result.timer, result.timer.records
    document = {
        "status": "interrupted" if result.interrupted else "finished",
        **result.description,
        "target_accuracy": timer.target,
        "target_on": timer.target_on,
        "reached": vars(timer.reached) if timer.reached else None,
        "test_accuracy": records[-1].accuracy if records else None,
        "training_seconds": timer.clock.training_seconds(),
        "wall_seconds": timer.clock.wall_seconds(),
        "prices": [
            {**vars(price), "cost_usd": price.cost(timer.clock.training_seconds())}
            for price in prices
        ],
        "ranking": reporting.ranking(result, prices),
        "epochs": [vars(record) for record in records],
    }
    try:
        folder.write_json("run.json", document)
        if result.rows:
            folder.write_history(result.rows)
        if result.benchmark is not None and records:
            _write_entry(result, folder, prices, author, author_email)
        _draw(result, folder)
    except OSError as error:
        reporting.console.print(f"The run folder is incomplete: {error}", style="bold red")
        return False
    reporting.console.print(f"Run folder: {folder.path}")
    return True


def _write_entry(result, folder, prices, author, author_email):
    description = result.description
    versions, machine = description["versions"], description["hardware"]
    device, tag = device_of(description)
    memory = f", {machine['memory_gib']} GiB memory" if machine["memory_gib"] else ""
    # The board's prices are on-demand ones: beside them a spot price would win unfairly.
    on_demand = [price.usd_per_hour for price in prices if price.kind == "on-demand"]
    # A run that went on with other settings has not those of the entry throughout, and one that had
    # been complete has its own.
    changed, others = description.get("taken_up"), description.get("not_taken_up")
    entry = dawnbench.Entry(
        author=author,
        author_email=author_email,
        framework=f"keras_dawn {__version__}, Keras {versions['keras']}, torch {versions['torch']}",
        model=result.entry["model"],
        hardware=f"{device}{memory}",
        tags=(author, result.entry["model"], tag, "keras-dawn"),
        timestamp=date.today(),
        cost_per_hour=on_demand[0] if on_demand else None,
        used_blacklist=result.entry.get("used_blacklist"),
        misc={
            **result.entry["misc"],
            **({"changedWhileTraining": changed} if changed else {}),
            **({"settingsNotTakenUp": others} if others else {}),
            "commandLine": " ".join(description["command"]),
            "versions": versions,
            "clock": "data load and model build included, validation excluded",
        },
    )
    if folder.is_taken_again:  # an earlier process's, which was interrupted
        for suffix in (".json", ".tsv"):
            (folder.path / f"{entry.basename()}{suffix}").unlink(missing_ok=True)
    path = dawnbench.write_entry(folder.path, entry, result.timer.records, result.benchmark)
    checks = dawnbench.validate_entry(path, result.benchmark)
    failed = [check for check in checks if not check.passed]
    if not failed:
        reporting.console.print("DAWNBench entry: valid, threshold reached.")
    for check in failed:
        reached = "threshold not reached" if check.name == "threshold" else check.name
        reporting.console.print(f"DAWNBench entry: {reached}: {check.message}")


def device_of(description):
    """What an entry calls that which trained, and the same as a part of its file's name.

    GPUs are counted by `×`, as on the board: those that trained, one a process, on all machines
    together. Of a processor it is the cores of a machine that are counted.

    Args:
        description: dict for `run.json`, with what `records.environment` returns.
    """
    machine, processes = description["hardware"], description["processes"]
    machines = processes["machines"]
    if description["device"] == "cuda":
        count, device = processes["world_size"], machine["gpus"][0]
        there = len(machine["gpus"])
        more = f" of {there} in the machine" if machines == 1 and there > count else ""
        among = f" in {machines} machines" if machines > 1 else more
        return f"{count} × {device}{among}", f"{count}x{_short(device)}"
    count, device = machine["cores"], machine["processor"]
    cores = "core" if count == 1 else "cores"
    among, several = (f"{machines} × ", f"{machines}x") if machines > 1 else ("", "")
    return f"{among}{count} {cores} of {device}", f"{several}{count}-{cores}-{_short(device)}"


def _draw(result, folder):
    try:
        schedule = plots.plot_schedule(result.schedule, result.epochs)
    except ImportError as error:
        reporting.console.print(f"No pictures: {error}")
        return
    schedule.savefig(folder.path / "schedule.png", dpi=150)
    if result.rows:
        plots.plot_loss(result.rows, folder.path / "loss.png")
    if result.timer.records:
        plots.plot_time_to_accuracy(
            {"this run": result.timer.records},
            result.timer.target,
            dawnbench.BOARDS[result.benchmark] if result.benchmark is not None else (),
            folder.path / "time_to_accuracy.png",
            top5=result.timer.target_on == "top5",
        )


def _short(device):
    return re.sub(r"\(R\)|\(TM\)|NVIDIA|CPU|Processor|@.*", "", device).strip() or "processor"
