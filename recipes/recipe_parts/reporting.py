"""What a recipe prints: banner, tables, results, their spread over several seeds."""

import statistics

from keras_dawn import dawnbench
from keras_dawn.distributed import current
from keras_dawn.foundation.counted import counted

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

console = Console(markup=False, emoji=False)  # brackets in the names of files are no markup


def banner(recipe, images, reason, folder):
    """Says which data is used and why, before anything is trained."""
    console.print(
        Panel(
            f"{reason}\n{len(images.train_images):,} training and {len(images.test_images):,} "
            f"test images, {len(images.class_names)} classes. Run folder: {folder}{_processes()}",
            title=_title(recipe, images),
        )
    )


def photo_banner(recipe, photos, reason, plan, folder):
    """Says which photos are used and why, and the plan, before anything is trained."""
    console.print(
        Panel(
            f"{reason}\n{len(photos.train('originals')):,} training and "
            f"{len(photos.val('originals')):,} validation photos, {len(photos.class_names)} "
            f"classes. Run folder: {folder}{_processes()}",
            title=_title(recipe, photos),
        )
    )
    print_plan(plan)
    for phase in plan.phases:  # finds out which copies are missing
        photos.train(phase.crops.copies or "originals")
    if photos.fell_back:
        console.print(
            f"No copies {', '.join(sorted(photos.fell_back))}: the originals are read, which takes "
            "longer and gives crops of the same photos (keras_dawn.data.photos.prepare makes them)."
        )


def print_plan(plan):
    """The plan as a table."""
    header, *rows = plan.table()
    title = f"{plan.name}: {counted(plan.epochs, 'epoch')}"
    table = Table(title=title, caption=plan.source or None)
    table.collapse_padding, table.pad_edge = True, False  # whole words in 80 columns
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def problems(found):
    """Names the odd files among the photos."""
    if found:
        console.print(f"{len(found)} odd files did not stop the run:")
        for name, text in list(found.items())[:20]:
            console.print(f"  {name}: {text}")
        if len(found) > 20:
            console.print("  … all of them are in run.json")


def _title(recipe, data):
    return Text.assemble(f"{recipe}: ", (data.name, "bold"))


def _processes():
    ranks = current()
    if not ranks.several:
        return ""
    return f"\n{ranks.world_size} processes over {ranks.backend}; batch sizes are those of all."


def differences(entry, preset, entry_name, name, loss_scale):
    """One table: how this run differs from the historical entry."""
    table = Table(title=f"This run ({name}) beside the entry ({entry_name})")
    for column in ("setting", "entry", "this run"):
        table.add_column(column, overflow="fold")
    ours, theirs = preset.settings(), entry.settings()
    # The one setting of the entry that is not a field of a preset.
    theirs["loss_scale"] = loss_scale
    ours["loss_scale"] = (
        "dynamic, from 512" if preset.precision == "mixed_float16" else f"none ({preset.precision})"
    )
    for setting in {**theirs, **ours}:
        there, here = (_text(found.get(setting, "")) for found in (theirs, ours))
        if there != here:
            table.add_row(setting, there, here)
    console.print(table)


def summary(result, prices):
    """The result in one table, by both clocks, with cost and rank."""
    timer, records = result.timer, result.timer.records
    table = Table(title="Result", show_header=False)
    if result.interrupted:
        table.add_row("interrupted", f"after {counted(len(result.rows), 'whole epoch')}")
    if records:
        last, best = records[-1], max(records, key=lambda record: record.accuracy)
        for what, record in (("test accuracy", last), ("best", best)):
            epochs = counted(record.epoch + 1, "epoch")
            table.add_row(what, f"{_accuracies(record)} after {epochs}")
    if tta := result.description.get("test_time_augmentation"):
        table.add_row("test-time augmentation", f"{100 * tta['accuracy']:.2f} %")
    table.add_row("training time", f"{timer.clock.training_seconds():.1f} s (DAWNBench's clock)")
    table.add_row("wall time", f"{timer.clock.wall_seconds():.1f} s")
    if paid := result.description.get("paid"):
        processes = "1 process" if paid["processes"] == 1 else f"{paid['processes']} processes"
        text = f"{paid['seconds']:.1f} s in {processes}"
        dollars = [f"USD {p.cost(paid['seconds']):.4f} {p.kind}" for p in prices]
        table.add_row("paid time", ", ".join([text, *dollars]))
    if others := result.description.get("not_taken_up"):
        table.add_row("trained before with other settings", ", ".join(others))
    for price in prices:
        cost = price.cost(timer.clock.training_seconds())
        table.add_row(f"cost, {price.kind}", f"USD {cost:.4f} ({_price(price)})")
    if not prices:
        table.add_row("cost", "not known: pass --price_per_hour and --price_source")
    target = f"{timer.target:g} %{' top-5' if timer.target_on == 'top5' else ''} reached"
    if timer.reached:
        hit = timer.reached
        table.add_row(
            target,
            f"after {hit.training_seconds:.1f} s, in epoch {hit.epoch + 1}",
        )
    else:
        table.add_row(target, "no")
    for line in ranking(result, prices):
        table.add_row("rank", line)
    console.print(table)
    problems(result.description["data"].get("problems"))


def ranking(result, prices):
    """Where the run would stand on the 2017–2020 board, as lines of text."""
    benchmark = result.benchmark
    if benchmark is None:
        return []
    column = "accuracy" if benchmark.metric == "top1Accuracy" else "top5_accuracy"
    hits = [r for r in result.timer.records if getattr(r, column) >= benchmark.threshold]
    if not hits:
        return []
    seconds = hits[0].training_seconds
    lines = [_rank_text(dawnbench.rank_by_time(seconds, benchmark), "time")]
    for price in prices:
        rank = dawnbench.rank_by_cost(price.cost(seconds), benchmark)
        note = " (the board's prices are on-demand)" if price.kind == "spot" else ""
        lines.append(_rank_text(rank, f"cost, {price.kind}") + note)
    return lines


def spread(results, folder):
    """Mean and spread over several seeds, on the screen and in `summary.json`."""
    accuracies = [r.timer.records[-1].accuracy for r in results]
    seconds = [r.timer.clock.training_seconds() for r in results]
    hits = [r.timer.reached.training_seconds for r in results if r.timer.reached]
    target = results[0].timer.target
    on = " top-5" if results[0].timer.target_on == "top5" else ""
    document = {
        "runs": len(results),
        "target_accuracy": target,
        "runs_that_reached_it": len(hits),
        "test_accuracy": _statistics(accuracies),
        "training_seconds": _statistics(seconds),
        "seconds_to_target": _statistics(hits) if hits else None,
    }
    table = Table(title=f"{len(results)} runs")
    for column in ("", "mean", "standard deviation", "lowest", "highest"):
        table.add_column(column)
    for name in ("test_accuracy", "training_seconds", "seconds_to_target"):
        if document[name]:
            table.add_row(name, *(f"{value:.2f}" for value in document[name].values()))
    console.print(table)
    console.print(f"{len(hits)} of {len(results)} runs reached {target:g} %{on}.")
    folder.write_json("summary.json", document)


def _accuracies(record):
    top5 = "" if record.top5_accuracy is None else f" (top-5 {record.top5_accuracy:.2f} %)"
    return f"{record.accuracy:.2f} %{top5}"


def _statistics(values):
    return {
        "mean": statistics.mean(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "lowest": min(values),
        "highest": max(values),
    }


def _rank_text(rank, what):
    text = f"{rank.place} of {rank.of} by {what}"
    if rank.ahead:
        text += f", behind {rank.ahead.author} ({rank.ahead.date.year})"
    if rank.behind:
        text += f", ahead of {rank.behind.author} ({rank.behind.date.year})"
    return text


def _price(price):
    return f"USD {price.usd_per_hour:g} an hour, {price.source}, {price.date}"


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
