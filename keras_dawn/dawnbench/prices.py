"""What machines cost per hour, each price with its source and date."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Price:
    """USD per hour of a whole machine.

    Args:
        usd_per_hour: float from 0 up.
        kind: `"on-demand"` (what DAWNBench takes) or `"spot"`.
        source: str, where the figure is from.
        date: `datetime.date` on which it held.
        machine: str.
        gpus: int, how many GPUs it has, 0 for none or not known.
    """

    usd_per_hour: float
    kind: str
    source: str
    date: date
    machine: str = ""
    gpus: int = 0

    def __post_init__(self):
        check_price(self.usd_per_hour)
        if self.kind not in ("on-demand", "spot"):
            raise ValueError(f"A price is 'on-demand' or 'spot', got {self.kind!r}.")
        if not self.source:
            raise ValueError("A price needs its source, such as a provider's price page.")

    @property
    def usd_per_gpu_hour(self):
        """USD per GPU and hour, or `None` without GPUs."""
        return self.usd_per_hour / self.gpus if self.gpus else None

    def cost(self, seconds):
        """USD for so many seconds."""
        return seconds / 3600 * self.usd_per_hour


def check_price(usd_per_hour):
    """Raises `ValueError` for a price below 0; `None` is no price."""
    if usd_per_hour is not None and not usd_per_hour >= 0:
        raise ValueError(f"The price per hour must be 0 or more (USD), got {usd_per_hour}.")


_ENTRY = "costPerHour of the DAWNBench entry of that date"

HISTORICAL_PRICES = (
    Price(3.06, "on-demand", _ENTRY, date(2018, 11, 6), "AWS p3.2xlarge, 1 × V100", 1),
    Price(24.48, "on-demand", _ENTRY, date(2018, 4, 20), "AWS p3.16xlarge, 8 × V100", 8),
    Price(2.30, "on-demand", _ENTRY, date(2018, 4, 19), "Paperspace, 1 × V100", 1),
    Price(
        8.45,
        "spot",
        "USD 25 for the 2.9575 hours of fast.ai's ImageNet entry, from their post",
        date(2018, 4, 30),
        "AWS p3.16xlarge, 8 × V100",
        8,
    ),
)
