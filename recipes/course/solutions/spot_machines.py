"""Answers of lesson 10, for the lecturer."""

import math


def best_interval(save_seconds, mean_seconds_between_evictions):
    return math.sqrt(2 * save_seconds * mean_seconds_between_evictions)


def cost_without_checkpoints(hours, mean_hours, usd_per_hour):
    return usd_per_hour * mean_hours * math.expm1(hours / mean_hours)
