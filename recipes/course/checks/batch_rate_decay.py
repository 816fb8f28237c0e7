"""Checks of lesson 5."""

from checks.judge import Case, judge


def check_scaled_rate(scaled):
    """`scaled(rate, batch, new_batch)`: in proportion."""
    return judge(
        scaled,
        [
            Case((0.1, 256, 256), 0.1, "The same batch has the same rate."),
            Case((0.1, 256, 8192), 3.2, "How many times as large is the batch?"),
            Case((0.4, 128, 32), 0.1, "It works downwards too."),
        ],
    )


def check_fraction_left(fraction_left):
    """`fraction_left(rate, decay, steps_per_epoch, epochs)`."""
    return judge(
        fraction_left,
        [
            Case((0.1, 0.01, 1, 1), 0.999, "One step leaves 1 - rate times decay."),
            Case((0.1, 5e-4, 100, 10), 0.951228, "How many steps are there altogether?", 1e-5),
            Case((0.5, 1.0, 1, 3), 0.125, "Is it a product over the steps, or a sum?"),
        ],
    )


def check_scaled_decay(scaled):
    """`scaled(decay, batch, new_batch, rate, new_rate)`."""
    return judge(
        scaled,
        [
            Case((5e-4, 128, 512, 0.1, 0.4), 5e-4, "A quarter of the steps, each with four "
                 "times the rate: what is left to change?"),
            Case((5e-4, 128, 512, 0.1, 0.1), 2e-3, "If the rate stays, fewer steps must decay "
                 "more each."),
            Case((5e-4, 512, 512, 0.1, 0.2), 2.5e-4, "And with the same steps at twice the rate?"),
        ],
    )  # fmt: skip
