"""Curves that come round again: cycles of triangles (CLR) and cosines with restarts (SGDR)."""

from keras_dawn.schedules.curves import ROUNDING, Curve, check_numbers, cosine


def triangular(low, high, cycles=1):
    """`low` to `high` and back, `cycles` times (CLR, Smith 2015, arXiv:1506.01186)."""
    return _cyclical(
        low, high, cycles, lambda progress: 1.0, f"triangular({low}, {high}, {cycles})"
    )


def triangular2(low, high, cycles=1):
    """`triangular` with half the height in each further cycle."""
    return _cyclical(
        low,
        high,
        cycles,
        # A cycle's first step may come out as 0.9999999 cycles.
        lambda progress: 0.5 ** int(progress * cycles + ROUNDING),
        f"triangular2({low}, {high}, {cycles})",
    )


def exp_range(low, high, cycles=1, end_scale=0.1):
    """`triangular` with a height that decays exponentially to `end_scale` of it at the end.

    Smith's `gamma` per iteration is `end_scale ** (1 / iterations)`.
    """
    if end_scale <= 0:
        raise ValueError(f"`end_scale` must be above 0, got {end_scale}.")
    return _cyclical(
        low,
        high,
        cycles,
        lambda progress: end_scale**progress,
        f"exp_range({low}, {high}, {cycles}, end_scale={end_scale})",
    )


def _cyclical(low, high, cycles, height, description):
    check_numbers(description.partition("(")[0], low=low, high=high)
    if not isinstance(cycles, int) or cycles < 1:
        raise ValueError(f"`cycles` must be a whole number from 1 up, got {cycles}.")

    def function(progress):
        position = (progress * cycles) % 1.0
        return low + (high - low) * (1.0 - abs(2.0 * position - 1.0)) * height(progress)

    return Curve(function, description)


def cosine_restarts(high, low=0.0, cycle_length=1 / 7, multiplier=2.0):
    """Cosine from `high` to `low`, started again and again (SGDR, arXiv:1608.03983).

    Args:
        cycle_length: float in (0, 1], the first cycle's fraction of the training. With
            the default, 1/7, and the multiplier 2, exactly three cycles fit.
        multiplier: float from 1 up, each cycle's length over the one before.
    """
    ends = restart_ends(cycle_length, multiplier)
    wave = cosine(high, low)

    def function(progress):
        start = 0.0
        for end in ends:
            if progress < end - ROUNDING or end == 1.0:
                break
            start = end
        # The last cycle is as long as its turn, though the training may end within it.
        length = cycle_length * multiplier ** ends.index(end)
        return wave(min(1.0, max(0.0, (progress - start) / length)))

    return Curve(function, f"cosine_restarts({high}, {low}, {cycle_length}, {multiplier})")


def restart_ends(cycle_length=1 / 7, multiplier=2.0):
    """The points of training progress at which the cycles of `cosine_restarts` end.

    Returns:
        list of increasing floats; the last is 1, the end of the training.
    """
    if not 0 < cycle_length <= 1:
        raise ValueError(f"`cycle_length` must be in (0, 1], got {cycle_length}.")
    if multiplier < 1:
        raise ValueError(f"`multiplier` must be 1 or more, got {multiplier}.")
    ends, length = [], cycle_length
    while (ends[-1] if ends else 0.0) + length < 1 - ROUNDING:
        ends.append((ends[-1] if ends else 0.0) + length)
        length *= multiplier
    return [*ends, 1.0]
