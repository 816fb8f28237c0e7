"""Messages between ranks that evaluate together, some of them perhaps in fewer batches."""

import contextlib

from keras_dawn.distributed.collectives import start_sum
from keras_dawn.distributed.ranks import current

import torch

_weight = None  # what this rank's part of a batch weighs, while all ranks evaluate together


@contextlib.contextmanager
def evaluated_together(weight):
    """Inside, each rank evaluates its part of one set of data; at its end it waits for the others.

    Args:
        weight: callable without arguments: what this rank's part of the last batch weighs.
    """
    global _weight
    before, _weight = _weight, weight
    try:
        yield
    finally:
        _weight = before


def is_under_way():
    """Whether all ranks evaluate together."""
    return _weight is not None


def weight_of_part():
    """What this rank's part of the batch weighs."""
    return _weight()


def sum_of_number(number):
    """The sum over the ranks of a 0-d tensor; a rank without a part of the batch adds nothing."""
    return _exchanged(number.device, number=number)[0].to(number.dtype)


def announce_metrics(device):
    """Tells the ranks that have come to their end that metrics are summed now."""
    _exchanged(device, metrics=1)


def wait_for_others(device, sum_metrics):
    """Takes part in what the ranks do that have more batches, until all have come to their end.

    Args:
        device: `torch.device`, where the losses are computed.
        sum_metrics: callable without arguments that sums the metrics over the ranks.
    """
    ended = 0
    while ended < current().world_size:
        _, metrics, ended = _exchanged(device, ended=1).tolist()
        if metrics:
            sum_metrics()


def _exchanged(device, number=0, metrics=0, ended=0):
    parts = [
        torch.as_tensor(part, dtype=torch.float64, device=device)
        for part in (number, metrics, ended)
    ]
    message = torch.stack(parts)
    start_sum(message).wait()
    return message
