"""Curves: pure functions of training progress in [0, 1], and what combines them.

A curve maps progress (0.0 at the first step, 1.0 after the last) to the value of a
hyper-parameter. It knows nothing of Keras, epochs or steps:

    >>> curve = combine([0.25, 0.75], [linear(0.1, 1.0), cosine(1.0, 0.0)])
    >>> curve(0.25)
    1.0

`keras_dawn.ParameterSchedule` places curves in a `fit`.
"""

import itertools
import math

ROUNDING = 1e-9  # a boundary computed as a fraction may lie this far from the step it means


class Curve:
    """A function of progress with a readable name.

    Any callable from a float in [0, 1] to a float will do where a curve is expected;
    this class adds a range check and a `repr` that says what the curve is.

    Args:
        function: callable from progress to a float.
        description: str, the `repr`.
    """

    __slots__ = ("description", "function")

    def __init__(self, function, description):
        self.function = function
        self.description = description

    def __call__(self, progress):
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"Progress must be in [0, 1], got {progress}.")
        return self.function(progress)

    def __repr__(self):
        return self.description


def is_number(value):
    """Whether a value is a number, of Python's, of numpy's or of a tensor."""
    return not isinstance(value, (str, bytes)) and hasattr(type(value), "__float__")


def check_numbers(curve, **values):
    """Raises `ValueError` for what is no number among the arguments of a curve."""
    for name, value in values.items():
        if not is_number(value):
            raise ValueError(f"`{name}` of `{curve}` must be a number, got {value!r}.")


def constant(value):
    """The same value throughout."""
    check_numbers("constant", value=value)
    return Curve(lambda progress: value, f"constant({value})")


def linear(start, end):
    """A straight line from `start` to `end`."""
    check_numbers("linear", start=start, end=end)
    return Curve(lambda progress: start + (end - start) * progress, f"linear({start}, {end})")


def cosine(start, end):
    """Half a cosine wave from `start` to `end`: flat at both ends, steepest in the middle."""
    check_numbers("cosine", start=start, end=end)
    return Curve(
        lambda progress: end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0,
        f"cosine({start}, {end})",
    )


def exponential(start, end):
    """A constant ratio per step from `start` to `end`, both above 0."""
    check_numbers("exponential", start=start, end=end)
    if start <= 0 or end <= 0:
        raise ValueError(f"An exponential curve needs values above 0, got {start} and {end}.")
    return Curve(lambda progress: start * (end / start) ** progress, f"exponential({start}, {end})")


def polynomial(start, end, power):
    """`end + (start - end) * (1 - progress) ** power`."""
    check_numbers("polynomial", start=start, end=end, power=power)
    if power <= 0:
        raise ValueError(f"`power` must be above 0, got {power}.")
    return Curve(
        lambda progress: end + (start - end) * (1.0 - progress) ** power,
        f"polynomial({start}, {end}, power={power})",
    )


def combine(fractions, curves):
    """Runs curves one after another, each over its fraction of the training.

    Where one ends, the next has begun, as in torch's `SequentialLR`.

    Args:
        fractions: list of floats above 0 that add up to 1.
        curves: list of as many curves; each sees its own progress from 0 to 1.
    """
    if len(fractions) != len(curves) or not curves:
        raise ValueError(
            f"`combine` needs one fraction for each curve and at least one, "
            f"got {len(fractions)} fractions and {len(curves)} curves."
        )
    check_numbers("combine", **{f"fractions[{n}]": each for n, each in enumerate(fractions)})
    if min(fractions) <= 0 or abs(sum(fractions) - 1.0) > 1e-6:
        raise ValueError(f"Fractions must be above 0 and add up to 1, got {list(fractions)}.")
    ends, total = [], 0.0
    for fraction in fractions:
        total += fraction
        ends.append(total)
    # The sum of the fractions may be 0.9999999.
    ends[-1] = 1.0
    return Curve(in_turn(ends, curves), f"combine({list(fractions)}, {list(curves)})")


def piecewise_linear(positions, values):
    """Straight lines between knots, as in `numpy.interp`.

    Args:
        positions: increasing floats from 0 to 1.
        values: as many floats.
    """
    if len(positions) != len(values) or len(positions) < 2:
        raise ValueError(
            f"`piecewise_linear` needs as many values as positions, two or more, "
            f"got {len(positions)} positions and {len(values)} values."
        )
    if positions[0] != 0 or positions[-1] != 1 or _not_increasing(positions):
        raise ValueError(f"Positions must increase from 0 to 1, got {list(positions)}.")
    lines = [linear(start, end) for start, end in itertools.pairwise(values)]
    return Curve(
        in_turn(positions[1:], lines), f"piecewise_linear({list(positions)}, {list(values)})"
    )


def in_turn(ends, curves):
    """The plain function under `combine`: the k-th curve runs up to progress `ends[k]`.

    Ends may lie at or below 0 (that curve is over before training begins) or, for the
    last one, below 1 (its end value then stays).
    """
    last = len(curves) - 1

    def function(progress):
        start = 0.0
        for index, end in enumerate(ends):
            if progress < end - ROUNDING or index == last:
                break
            start = end
        # A part without length is over at once: its end value holds.
        position = (progress - start) / (end - start) if end > start else 1.0
        return curves[index](min(1.0, max(0.0, position)))

    return function


def steps(values, boundaries):
    """Piecewise constant: `values[0]` up to `boundaries[0]`, then `values[1]`, and so on.

    Args:
        values: list of floats, one more than there are boundaries.
        boundaries: increasing floats in (0, 1): where the next value begins.
    """
    if len(values) != len(boundaries) + 1:
        raise ValueError(
            f"`steps` needs one value more than boundaries, "
            f"got {len(values)} values and {len(boundaries)} boundaries."
        )
    if any(not 0 < b < 1 for b in boundaries) or _not_increasing(boundaries):
        raise ValueError(f"Boundaries must increase inside (0, 1), got {list(boundaries)}.")

    def function(progress):
        return values[sum(progress >= b - ROUNDING for b in boundaries)]

    return Curve(function, f"steps({list(values)}, {list(boundaries)})")


def flat_cosine(value, end, flat_fraction=0.75):
    """`value` for `flat_fraction` of the training, then a cosine down to `end`."""
    check_numbers("flat_cosine", value=value, end=end, flat_fraction=flat_fraction)
    return combine([flat_fraction, 1 - flat_fraction], [constant(value), cosine(value, end)])


def warm_up(curve, fraction, start=0.0):
    """A straight line from `start` to `curve(0)`, then the whole of `curve`."""
    check_numbers("warm_up", fraction=fraction, start=start)
    return combine([fraction, 1 - fraction], [linear(start, curve(0.0)), curve])


def _not_increasing(numbers):
    return any(a >= b for a, b in itertools.pairwise(numbers))
