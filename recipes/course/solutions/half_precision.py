"""Answers of lesson 7, for the lecturer."""

import numpy as np


def largest_lost_update(fraction_bits):
    return 2.0 ** -(fraction_bits + 1)


def scaled_step(weight, gradient_of, rate, scale):
    gradient = np.float32(gradient_of(weight, scale)) / np.float32(scale)
    return np.float32(weight) - np.float32(rate) * gradient


def next_scale(scale, overflowed, good_steps, every=2000):
    if overflowed:
        return scale / 2
    return scale * 2 if good_steps % every == 0 else scale
