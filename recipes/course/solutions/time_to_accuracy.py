"""Answers of lesson 1, for the lecturer."""

import numpy as np


def time_to_accuracy(hours, accuracies, threshold):
    return next((h for h, a in zip(hours, accuracies, strict=True) if a >= threshold), None)


def training_clock(wall, validation):
    return wall - np.cumsum(validation)


def cost(seconds, usd_per_hour, machines=1):
    return seconds / 3600 * usd_per_hour * machines
