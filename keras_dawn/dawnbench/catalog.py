"""What machines cost now, by SkyPilot's catalog of the clouds' prices."""

import math
from datetime import date

from keras_dawn.dawnbench.prices import Price

CLOUDS = ("aws", "gcp", "azure", "lambda")


def catalog_prices(accelerator, clouds=CLOUDS):
    """The prices of machines with a GPU: on demand and spot, in the cheapest region.

    SkyPilot downloads its catalog from the project's public repository and renews it every few
    hours; no account at a cloud is needed.

    Args:
        accelerator: str, such as `"V100"`, or `"V100:8"` for machines with eight of them.
        clouds: names of SkyPilot's clouds.

    Returns:
        list of `Price` dated today, the cheapest first.

    Raises:
        ImportError: SkyPilot is not installed.
        ValueError: no cloud has such machines, or a bad number of them.
        OSError: the catalog could not be downloaded.

    Example:
        >>> catalog_prices("A100:8", ["aws"])                           # doctest: +SKIP
        [Price(usd_per_hour=..., kind='spot', source="SkyPilot's catalog, us-east-1", ...
    """
    try:
        from sky import catalog
    except ImportError:
        raise ImportError(
            "Prices of today come from SkyPilot's catalog: pip install 'keras_dawn[cloud]'."
        ) from None
    name, _, count = accelerator.partition(":")
    if count and not (count.isdigit() and int(count)):
        raise ValueError(f"A GPU is NAME or NAME:NUMBER, such as V100:8; got {accelerator!r}.")
    found = catalog.list_accelerators(
        # A regular expression there: "A10" alone would find the A100 too.
        name_filter=f"^{name}$",
        quantity_filter=int(count) if count else None,
        clouds=list(clouds),
        case_sensitive=False,
    )
    today, prices = date.today(), []
    for machine in (machine for machines in found.values() for machine in machines):
        count = machine.accelerator_count  # of some machines a part of one
        label = f"{machine.cloud} {machine.instance_type}, {count:g} × {machine.accelerator_name}"
        source = f"SkyPilot's catalog, {machine.region}"
        for kind, usd in (("on-demand", machine.price), ("spot", machine.spot_price)):
            # Many machines have no spot price in a region, which the catalog writes as NaN.
            if usd is not None and not math.isnan(usd):
                prices.append(Price(float(usd), kind, source, today, label, int(count)))
    if not prices:
        raise ValueError(f"SkyPilot's catalog of {', '.join(clouds)} has no {accelerator}.")
    return sorted(prices, key=lambda price: price.usd_per_hour)
