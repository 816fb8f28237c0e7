"""Checks of lesson 13."""

from checks.judge import Case, judge


def check_group_rates(group_rates):
    """`group_rates(head_rate, spread, groups)`: evenly spaced logarithms."""
    return judge(
        group_rates,
        [
            Case((0.1, 100.0, 2), [0.001, 0.1], "The head has its rate, the first group its rate "
                 "divided by the spread."),
            Case((1.0, 100.0, 3), [0.01, 0.1, 1.0], "Halfway between 1 and 100 by logarithms is "
                 "10."),
            Case((0.2, 8.0, 4), [0.025, 0.05, 0.1, 0.2], "Each rate is the one before it times "
                 "the same number."),
        ],
    )  # fmt: skip


def check_trained_groups(trained_groups):
    """`trained_groups(epoch, head_epochs, groups)`: the head, then one more each epoch."""
    return judge(
        trained_groups,
        [
            Case((0, 1, 3), 1, "First the head alone."),
            Case((1, 2, 3), 1, "The head alone for all of its epochs."),
            Case((2, 2, 3), 2, "Then one group more."),
            Case((9, 1, 3), 3, "There are no more groups than that."),
        ],
    )
