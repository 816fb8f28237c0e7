"""Checks of lesson 7."""

import numpy as np

from checks.judge import Case, judge


def check_largest_lost_update(largest):
    """`largest(fraction_bits)` returns half the gap after 1."""
    return judge(
        largest,
        [
            Case((10,), 2.0**-11, "Where is the middle between 1 and the next number?"),
            Case((7,), 2.0**-8, "bfloat16 has 7 bits of fraction."),
            Case((23,), 2.0**-24, "The same holds for float32."),
        ],
    )


def check_scaled_step(step):
    """`step(weight, gradient_of, rate, scale)` unscales in float32 and descends."""

    def gradient_of(weight, scale):
        return np.float16(np.float32(2e-8) * np.float32(scale) * np.float32(weight))

    def steep(weight, scale):
        return np.float16(3.0 * scale)

    return judge(
        step,
        [
            Case((1.0, steep, 0.1, 1.0), 0.7, "With a scale of 1 it is plain descent."),
            Case((1.0, steep, 0.1, 8.0), 0.7, "What must be undone before the update?", 1e-5),
            Case((1.0, gradient_of, 1e6, 1024.0), 0.98, "In which type is it divided?", 1e-3),
        ],
    )


def check_next_scale(rule):
    """`rule(scale, overflowed, good_steps, every)` halves, doubles or keeps the scale."""
    return judge(
        rule,
        [
            Case((512.0, True, 0, 2000), 256.0, "What happens after an overflow?"),
            Case((512.0, False, 7, 2000), 512.0, "When nothing happens, it stays."),
            Case((512.0, False, 2000, 2000), 1024.0, "When is it time to try more?"),
            Case((512.0, False, 6, 3), 1024.0, "Every so many good steps, not only once."),
        ],
    )
