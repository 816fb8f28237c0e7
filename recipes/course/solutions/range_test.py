"""Answers of lesson 3, for the lecturer."""

import numpy as np


def smoothed(losses, beta):
    mean, averages = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = beta * mean + (1 - beta) * loss
        averages.append(mean / (1 - beta**step))
    return averages


def steepest(rates, losses):
    return rates[np.argmin(np.diff(losses))]
