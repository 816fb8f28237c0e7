"""Which way a stage of a convolution goes: a pure function of its sizes, from a table of rules."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from keras_dawn.convolutions.precisions import PRECISIONS
from keras_dawn.convolutions.processor import KINDS, kind_of_processor
from keras_dawn.convolutions.way import STAGES
from keras_dawn.convolutions.ways import TORCH, WAYS

FEATURES = (
    "batch", "pixels", "channels", "filters", "work", "kernel", "stride", "axes", "group",
)  # fmt: skip
LARGE_BATCH = 64  # images; with more of them the ratio of two ways hardly changes
_FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class WayRule:
    """Where a way is the fastest.

    Args:
        stage: `"forward"`, `"to_input"` or `"to_weight"`.
        precision: `"float32"` or `"bfloat16"`.
        way: name of a way.
        bounds: dict from the name of a feature to `(least, most)`, either of them `None`.
    """

    stage: str
    precision: str
    way: str
    bounds: dict

    def holds(self, features, threads):
        """Whether a convolution of these features is within the bounds."""
        for name, (least, most) in self.bounds.items():
            value = threads if name == "threads" else features[name]
            if (least is not None and value < least) or (most is not None and value > most):
                return False
        return True


@dataclass(frozen=True, eq=False)
class Table:
    """Rules, of which the first that holds says the way; torch's own where none does.

    Args:
        name: str.
        rules: tuple of `WayRule`.

    Attributes:
        identity: str, the name and a digest of the rules: tables with one identity choose alike.
    """

    name: str
    rules: tuple

    def __post_init__(self):
        for number, rule in enumerate(self.rules):
            _check(rule, number)

    def __repr__(self):
        return f"Table({self.identity!r}, {len(self.rules)} rules)"

    @property
    def identity(self):
        if not self.rules:
            # Nothing that a digest would tell: all of it is torch's own.
            return self.name
        text = json.dumps([vars(rule) for rule in self.rules], sort_keys=True)
        return f"{self.name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def way_of(stage, sizes, precision, threads, table):
    """The name of the way that a stage of a convolution goes.

    Args:
        stage: `"forward"`, `"to_input"` or `"to_weight"`.
        sizes: `Sizes`.
        precision: `"float32"` or `"bfloat16"`.
        threads: int, of torch.
        table: `Table`.

    Example:
        >>> from keras_dawn.convolutions.sizes import Sizes
        >>> sizes = Sizes(64, 512, 512, (4, 4), (3, 3), padding=(1, 1))
        >>> way_of("to_weight", sizes, "bfloat16", 2, table_named("amx"))
        'transposed'
        >>> way_of("to_weight", sizes, "bfloat16", 2, table_named("torch"))
        'torch'
    """
    if min(sizes.batch, sizes.channels, sizes.filters, *sizes.result) < 1:
        return TORCH  # of nothing, or torch says what is wrong
    features = features_of(sizes)
    for rule in table.rules:
        # A rule is drawn from measured sizes; a way may not take all that lie between them.
        same = rule.stage == stage and rule.precision == precision
        if same and rule.holds(features, threads) and WAYS[rule.way].takes(stage, sizes):
            return rule.way
    return TORCH


def features_of(sizes):
    """What rules have bounds for, by name.

    `pixels` are those of one result, `work` the millions of multiplications for the batch, or for
    64 images of a larger one; `kernel` and `stride` are products over the axes; `axes` is 1 of a
    series, 2 of images under a square kernel and square strides without dilation, and 0 of others;
    `group` is the channels that a filter sees.
    """
    pixels = sizes.result[0] * sizes.result[1]
    kernel = sizes.kernel[0] * sizes.kernel[1]
    each = sizes.channels // sizes.groups * sizes.filters
    return {
        "batch": sizes.batch,
        "pixels": pixels,
        "channels": sizes.channels,
        "filters": sizes.filters,
        "work": min(sizes.batch, LARGE_BATCH) * pixels * kernel * each / 1e6,
        "kernel": kernel,
        "stride": sizes.stride[0] * sizes.stride[1],
        "axes": _axes(sizes),
        "group": sizes.channels // sizes.groups,
    }


def _axes(sizes):
    if sizes.image[0] == sizes.kernel[0] == sizes.stride[0] == 1:
        return 1
    square = all(len(set(pair)) == 1 for pair in (sizes.kernel, sizes.stride))
    return 2 if square and sizes.dilation == (1, 1) else 0


def table_named(name):
    """A `Table`: the package's for a kind of processor, `"torch"` for an empty one, or a file's.

    Args:
        name: one of `KINDS`, `"torch"`, or the path of a `.json` file that
            `benchmarks/convolutions.py --table` has written.

    Raises:
        ValueError: another name, or a file that holds no table.
        OSError: the file cannot be read.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise ValueError(f"Expected the name or the path of a table of ways, got {name!r}.")
    if name == TORCH:
        return Table(TORCH, ())
    path = _FOLDER / f"{name}.json" if name in KINDS else Path(name).expanduser()
    if name in KINDS and not path.exists():
        return Table(name, ())  # nothing was measured there
    if path.suffix != ".json":
        raise ValueError(
            f"Expected one of {', '.join((*KINDS, TORCH))} or a .json file with a table of ways, "
            f"got {name!r}."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rules = tuple(WayRule(**rule) for rule in document["rules"])
        return Table(document["name"], rules)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no table of ways ({error}): write one with "
            "`python benchmarks/convolutions.py --table=FILE`."
        ) from error


def _check(rule, number):
    wrong = None
    if rule.stage not in STAGES:
        wrong = f"the stage {rule.stage!r}; there are {', '.join(STAGES)}"
    elif rule.precision not in PRECISIONS.values():
        wrong = f"the precision {rule.precision!r}; there are {', '.join(PRECISIONS.values())}"
    elif not hasattr(WAYS.get(rule.way), rule.stage):
        wrong = f"the way {rule.way!r}, which there is not for {rule.stage}"
    elif rule.precision not in WAYS[rule.way].precisions:
        wrong = f"the way {rule.way!r}, which there is not for {rule.precision}"
    elif not isinstance(rule.bounds, dict) or not all(map(_is_pair, rule.bounds.values())):
        wrong = f"bounds {rule.bounds!r}; what is expected is a pair of numbers for each name"
    elif not set(rule.bounds) <= {*FEATURES, "threads"}:
        wrong = f"bounds of {', '.join(rule.bounds)}; there are {', '.join(FEATURES)}, threads"
    if wrong is not None:
        raise ValueError(f"Rule {number} of the table has {wrong}.")


def _is_pair(ends):
    """Whether this is `[least, most]`, each a number or `None`."""
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        return False
    return all(end is None or type(end) in (int, float) for end in ends)


class _InUse:
    """The table of this process."""

    table = None


def use_table(name=None):
    """Sets which table of ways this process's convolutions go by, from the next call on.

    Args:
        name: `None` for the package's table for this kind of processor, which is what is used
            without a call; `"torch"` to keep to torch's own convolutions; the path of a table
            that `benchmarks/convolutions.py` has measured on this machine; or the name of a
            kind of processor.

    Returns:
        `Table`.

    Raises:
        ValueError: another name, or a file that holds no table.
        OSError: the file cannot be read.

    Example:
        >>> use_table("torch").identity
        'torch'
        >>> table = use_table()
    """
    _InUse.table = table_named(kind_of_processor() if name is None else name)
    return _InUse.table


def table_in_use():
    """The `Table` that this process's convolutions go by."""
    return use_table() if _InUse.table is None else _InUse.table
