"""Checks of lesson 4."""

from checks.judge import Case, judge


def check_one_cycle(curve):
    """`curve(progress, max_rate, div, tail)`: fast.ai's three straight lines."""
    return judge(
        curve,
        [
            Case((0.0, 1.5, 20, 0.2), 0.075, "Where does it begin?"),
            Case((0.4, 1.5, 20, 0.2), 1.5, "With a tail of a fifth, up ends after two fifths."),
            Case((0.2, 1.5, 20, 0.2), 0.7875, "Half of the way up, on a straight line."),
            Case((0.6, 1.5, 20, 0.2), 0.7875, "Down is as long as up."),
            Case((0.8, 1.5, 20, 0.2), 0.075, "Where does the tail begin?"),
            Case((0.9, 1.5, 20, 0.2), 0.037875, "The tail goes to a hundredth of the start."),
            Case((1.0, 2.0, 50, 0.125), 0.0004, "And it ends there."),
        ],
    )


def check_momentum(curve):
    """`curve(progress, high, low, tail)`."""
    return judge(
        curve,
        [
            Case((0.0, 0.95, 0.85, 0.2), 0.95, "It begins high."),
            Case((0.4, 0.95, 0.85, 0.2), 0.85, "It is lowest where the rate is highest."),
            Case((0.2, 0.95, 0.85, 0.2), 0.90, "Half of the way down."),
            Case((0.6, 0.95, 0.85, 0.2), 0.90, "It comes back as fast."),
            Case((0.9, 0.95, 0.85, 0.2), 0.95, "In the tail it stays."),
        ],
    )
