"""Checks of lesson 2."""

from checks.judge import Case, judge


def check_torch_step(step):
    """`step(w, v, g, rate, momentum)` returns the new weight and velocity in torch's form."""
    return judge(
        step,
        [
            Case((1.0, 0.0, 2.0, 0.1, 0.9), (0.8, 2.0), "The first step is plain descent: why?"),
            Case((1.0, 1.0, 0.0, 0.1, 0.9), (0.91, 0.9), "Without a gradient, what moves it?"),
            Case((1.0, 1.0, 2.0, 0.1, 0.5), (0.75, 2.5), "Is the new gradient decayed as well?"),
        ],
    )


def check_keras_step(step):
    """The same in Keras's form."""
    return judge(
        step,
        [
            Case((1.0, 0.0, 2.0, 0.1, 0.9), (0.8, -0.2), "Where is the rate kept in this form?"),
            Case((1.0, -0.1, 0.0, 0.1, 0.9), (0.91, -0.09), "What does the velocity hold here?"),
            Case((1.0, -1.0, 2.0, 0.01, 0.5), (0.48, -0.52), "Which rate does the old part have?"),
        ],
    )


def check_steps_that_linger(count):
    """`count(momentum, fraction)`: steps until a velocity has decayed to a fraction of itself."""
    return judge(
        count,
        [
            Case((0.5, 0.25), 2, "Each step multiplies it by the momentum."),
            Case((0.9, 0.1), 22, "Round up: after that many steps it is at or below the fraction."),
            Case((0.99, 0.01), 459, "A logarithm of what, to which base?"),
        ],
    )
