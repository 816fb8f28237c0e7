"""What a run cost, or would have cost at other prices.

    python -m keras_dawn.dawnbench.cost RUN_FOLDER

The time is the run's own: a price of another machine is not a claim about that machine's speed.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

from keras_dawn.dawnbench import HISTORICAL_PRICES, Price
from keras_dawn.dawnbench.catalog import CLOUDS, catalog_prices
from keras_dawn.foundation.counted import counted

from rich.console import Console
from rich.table import Table


def costs(document, prices):
    """The costs of a run at each price.

    Args:
        document: dict, a run's `run.json`.
        prices: list of `Price`.

    Returns:
        list of dicts: `price`, `training_usd` (DAWNBench's clock), `paid_usd` (the time of all
        processes, those that were killed included; `None` for a run without checkpoints) and
        `target_usd` (to the target accuracy; `None` if it was not reached).

    Example:
        >>> price = Price(3.6, "spot", "an example", datetime.date(2026, 1, 1))
        >>> (row,) = costs({"training_seconds": 100.0, "paid": {"seconds": 250.0}}, [price])
        >>> round(row["training_usd"], 4), round(row["paid_usd"], 4), row["target_usd"]
        (0.1, 0.25, None)
    """
    seconds = document["training_seconds"]
    paid, reached = document.get("paid"), document.get("reached")
    return [
        {
            "price": price,
            "training_usd": price.cost(seconds),
            "paid_usd": price.cost(paid["seconds"]) if paid else None,
            "target_usd": price.cost(reached["training_seconds"]) if reached else None,
        }
        for price in prices
    ]


def read_price(text):
    """A `Price` from `USD,KIND,SOURCE[,MACHINE[,GPUS]]`, dated today.

    Raises:
        ValueError: a text that is not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    if not 3 <= len(parts) <= 5:
        raise ValueError(f"A price is USD,KIND,SOURCE[,MACHINE[,GPUS]], got {text!r}.")
    try:
        usd, gpus = float(parts[0]), int(parts[4]) if len(parts) == 5 else 0
    except ValueError:
        raise ValueError(f"The price and the number of GPUs must be numbers in {text!r}.") from None
    machine = parts[3] if len(parts) > 3 else ""
    return Price(usd, parts[1], parts[2], datetime.date.today(), machine, gpus)


def main(arguments=None):
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser("python -m keras_dawn.dawnbench.cost", description=__doc__)
    parser.add_argument("run_folder", type=Path, help="a folder with run.json")
    parser.add_argument(
        "--price", action="append", default=[], metavar="USD,KIND,SOURCE[,MACHINE[,GPUS]]",
        help="another price an hour; KIND is on-demand or spot; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--gpu", action="append", default=[], metavar="NAME[:NUMBER]",
        help="machines with this GPU, at today's prices in SkyPilot's catalog; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--clouds", default=",".join(CLOUDS), help="where to look for them (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        document = json.loads((given.run_folder / "run.json").read_text(encoding="utf-8"))
        # Looks for the keys now, so that a folder of something else is one clear line of error.
        costs(document, ())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"No costs: {error!s}. Give a folder with a whole run.json.", file=sys.stderr)
        return 1
    try:
        prices = [read_price(text) for text in given.price]
        for gpu in given.gpu:
            prices += catalog_prices(gpu, [cloud.strip() for cloud in given.clouds.split(",")])
    except (ImportError, OSError, ValueError) as error:
        print(f"No costs: {error!s}", file=sys.stderr)
        return 1
    rows = costs(document, [*prices, *HISTORICAL_PRICES])
    _print_table(given.run_folder, document, rows)
    return 0


def _print_table(folder, document, rows):
    table = Table(title=f"{folder}: {document['training_seconds']:.1f} s of training")
    for column in ("machine", "kind", "USD an hour", "a GPU-hour", "training", "paid time",
                   "to the target", "source"):  # fmt: skip
        table.add_column(column, overflow="fold")
    for row in rows:
        price = row["price"]
        per_gpu = price.usd_per_gpu_hour
        table.add_row(
            price.machine or "this machine",
            price.kind,
            f"{price.usd_per_hour:g}",
            "" if per_gpu is None else f"{per_gpu:.3g}",
            *(
                "" if row[name] is None else f"{row[name]:.4f}"
                for name in ("training_usd", "paid_usd", "target_usd")
            ),
            f"{price.source}, {price.date}",
        )
    hardware = document.get("hardware", {})
    cores = counted(hardware["cores"], "core") if hardware.get("cores") else "? cores"
    machine = ", ".join(hardware.get("gpus") or [str(hardware.get("processor", "unknown"))])
    console = Console(width=160, markup=False, emoji=False)
    console.print(table)
    console.print(
        f"The time was measured on {cores} and {machine}. Every price "
        "is multiplied by that time, also those of machines that would have taken another."
    )


if __name__ == "__main__":
    sys.exit(main())
