"""Answers of lesson 9, for the lecturer."""

import math


def seconds_in_turn(batches, load, step):
    return batches * (load + step)


def seconds_overlapped(batches, load, step):
    return load + (batches - 1) * max(load, step) + step


def cores_needed(gpu_images_per_second, core_images_per_second):
    return math.ceil(gpu_images_per_second / core_images_per_second)


def shrink(crop, wanted):
    return max(scale for scale in (1, 2, 4, 8) if scale == 1 or crop >= scale * wanted)
