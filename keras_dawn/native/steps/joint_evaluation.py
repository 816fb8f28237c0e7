"""Messages between ranks that evaluate together, some of them perhaps in fewer batches."""

import contextlib

from keras_dawn.distributed.collectives import start_sum
from keras_dawn.distributed.ranks import current

import torch

_model = None  # which all ranks evaluate together
_weight = None  # what this rank's part of a batch weighs meanwhile


@contextlib.contextmanager
def evaluated_together(model, weight):
    """Inside, each rank evaluates its part of one set of data; at its end it waits for the others.

    Args:
        model: `keras.Model`.
        weight: callable without arguments: what this rank's part of the last batch weighs.
    """
    global _model, _weight
    before, _model, _weight = (_model, _weight), model, weight
    try:
        yield
    finally:
        _model, _weight = before


def is_under_way(model=None):
    """Whether all ranks evaluate a model together, this one if one is given.

    Another one may be evaluated by a callback meanwhile, on one rank alone.
    """
    return _weight is not None and (model is None or model is _model)


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
    message = torch.zeros(3, dtype=torch.float64, device=device)
    for place, part in enumerate((number, metrics, ended)):
        message[place].fill_(part)  # no copy from the host, which a device would wait for
    start_sum(message).wait()
    return message
