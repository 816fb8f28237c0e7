"""Answers of lesson 2, for the lecturer."""

import math


def torch_step(w, v, g, rate, momentum):
    v = momentum * v + g
    return w - rate * v, v


def keras_step(w, v, g, rate, momentum):
    v = momentum * v - rate * g
    return w + v, v


def steps_that_linger(momentum, fraction):
    return math.ceil(math.log(fraction) / math.log(momentum))
