"""The historical leaderboards, and where a run would stand on them.

Read off the entries in stanford-futuredata/dawn-bench-entries (commit fb27b82,
2020-03-26): seconds to the first epoch at the threshold, on-demand price per hour where
the entry gives one, and their product. Of the 31 CIFAR-10 entries the 14 that are not
Stanford's own 2017 baselines are listed, of the 27 ImageNet entries 22.
"""

from dataclasses import dataclass
from datetime import date

from keras_dawn.dawnbench.entry import CIFAR10, IMAGENET


@dataclass(frozen=True)
class BoardEntry:
    """A historical entry: seconds to the threshold, USD per hour on demand (or `None`)."""

    date: date
    author: str
    model: str
    hardware: str
    seconds: float
    price_per_hour: float | None = None

    def __repr__(self):  # a board has dozens
        return (
            f"<{self.date} {self.author}: {self.model}, {self.hardware}, {self.seconds:g} s, "
            f"{'no price' if self.cost is None else f'USD {self.cost:.2f}'}>"
        )

    @property
    def cost(self):
        """USD to the threshold, on demand, or `None`."""
        return None if self.price_per_hour is None else self.seconds / 3600 * self.price_per_hour


def _entries(rows):
    return tuple(BoardEntry(date.fromisoformat(day), *rest) for day, *rest in rows)


CIFAR10_BOARD = _entries(
    [
        ("2019-12-11", "Apple", "ResNet-9", "8 × V100", 9.4),
        ("2020-01-05", "A. Arasanipalai", "ResNet-9 (Mish)", "4 × V100", 10.7),
        ("2019-10-15", "Kakao Brain", "ResNet-9, flip TTA", "4 × V100", 28.0),
        ("2019-05-28", "Baidu USA", "BaiduNet9P", "8 × V100", 44.4, 8.5058),
        ("2019-10-15", "Kakao Brain", "ResNet-9", "1 × V100", 57.0),
        ("2019-05-07", "Baidu USA", "BaiduNet9", "1 × V100", 71.8, 1.0632),
        ("2019-04-14", "A. Arasanipalai", "ResNet-9", "1 × V100", 73.8),
        ("2018-11-06", "David Page", "ResNet-9", "1 × V100", 74.0, 3.06),
        ("2019-08-13", "Lambda", "BaiduNet9", "4 × 1080 Ti", 101.9, 1.50),
        ("2018-04-18", "fast.ai + students", "WRN-22-6", "8 × V100", 173.96, 24.48),
        ("2018-04-20", "bkj", "ResNet-18, modified", "1 × V100", 340.6, 3.06),
        ("2018-04-19", "fast.ai + students", "WRN-22-6", "1 × V100", 404.08, 2.30),
        ("2018-04-20", "Chen Wang", "KervResNet-34", "1 × 1080 Ti", 2136.0),
        ("2018-01-31", "DIUX", "ResNet-50", "1 × V100", 4075.0, 3.06),
    ]
)

IMAGENET_BOARD = _entries(
    [
        ("2020-03-17", "Alibaba", "ResNet-50 v1.5", "128 × V100", 157.6, 329.6),
        ("2019-05-08", "Huawei", "ResNet-50", "128 × V100", 162.3),
        ("2018-12-30", "Huawei", "ResNet-50", "128 × V100", 561.0),
        ("2018-09-06", "fast.ai/DIUx", "ResNet-50", "128 × V100", 1085.0, 391.68),
        ("2018-09-07", "fast.ai/DIUx", "ResNet-50", "64 × V100", 1133.0, 195.84),
        ("2020-03-10", "Alibaba", "ResNet-50", "8 × V100", 1297.7, 20.6),
        ("2019-08-01", "ZTE", "ResNet-50", "64 × P100", 1391.0),
        ("2018-09-07", "fast.ai/DIUx", "ResNet-50", "32 × V100", 1782.0, 97.92),
        ("2018-04-18", "Google", "ResNet-50", "1/2 TPUv2 Pod", 1843.0),
        ("2018-04-20", "Google", "AmoebaNet-D", "1/4 TPUv2 Pod", 3991.0),
        ("2019-04-13", "S. Chokshi", "ResNet-50", "8 × V100", 6143.0, 12.24),
        ("2019-02-25", "GE Healthcare", "ResNet-50", "8 × V100", 6273.0, 24.48),
        ("2018-04-20", "Google", "AmoebaNet-D", "1/16 TPUv2 Pod", 7103.0),
        ("2018-09-29", "Google", "ResNet-50, fast.ai's techniques", "1 Cloud TPU", 9870.0, 4.595),
        ("2018-04-20", "fast.ai + students", "ResNet-50", "8 × V100", 10647.0, 24.48),
        ("2018-04-20", "Intel", "ResNet-50", "128 × c5.18xlarge", 12354.0),
        ("2018-04-19", "Intel", "ResNet-56", "128 × c5.18xlarge", 12707.0),
        ("2018-09-29", "Google", "ResNet-50", "1 Cloud TPU", 21150.0, 4.595),
        ("2018-04-13", "Google", "AmoebaNet-D", "1 Cloud TPU", 26909.0, 6.595),
        ("2018-04-20", "Google", "ResNet-50", "1 Cloud TPU", 31952.0, 6.595),
        ("2019-08-10", "Lambda", "ResNet-50", "4 × 1080 Ti", 45588.0, 1.50),
        ("2018-01-31", "DIUX", "ResNet-50", "8 × V100", 52679.0, 24.48),
    ]
)

BOARDS = {CIFAR10: CIFAR10_BOARD, IMAGENET: IMAGENET_BOARD}


@dataclass(frozen=True)
class Rank:
    """A place on a board: 1 is the best of `of`, the run itself included."""

    place: int
    of: int
    ahead: BoardEntry | None
    behind: BoardEntry | None


def rank_by_time(seconds, benchmark=CIFAR10):
    """Where a run that took `seconds` of training would stand by time."""
    return _rank(seconds, BOARDS[benchmark], lambda entry: entry.seconds)


def rank_by_cost(cost, benchmark=CIFAR10):
    """Where a run would stand by cost in USD, among the entries that give a price.

    The board's costs are on-demand; a spot cost beside them compares unlike things.
    """
    priced = [entry for entry in BOARDS[benchmark] if entry.cost is not None]
    return _rank(cost, priced, lambda entry: entry.cost)


def _rank(value, entries, key):
    entries = sorted(entries, key=key)
    # Of equals, who was first keeps the place.
    better = [entry for entry in entries if key(entry) <= value]
    worse = entries[len(better) :]
    return Rank(
        place=len(better) + 1,
        of=len(entries) + 1,
        ahead=better[-1] if better else None,
        behind=worse[0] if worse else None,
    )
