"""Answers of lesson 14, for the lecturer."""

import torch


def seconds_a_step(plain, fraction, gain):
    return plain * (1 - fraction + fraction / gain)


def shrink(x, threshold):
    return torch.sign(x) * torch.relu(x.abs() - threshold)
