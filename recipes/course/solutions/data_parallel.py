"""Answers of lesson 8, for the lecturer."""

import numpy as np


def combine(gradients, sizes):
    return np.average(gradients, axis=0, weights=sizes)


def warmed_up(rate, processes, step, warm_up):
    return rate * (1 + (processes - 1) * min(1.0, step / warm_up))
