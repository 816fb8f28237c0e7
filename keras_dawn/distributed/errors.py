"""Errors of a rank that need not be printed at length: they are those of another rank."""

import torch.distributed as dist


class OnAllRanksError(ValueError):
    """A refusal that all ranks raise alike, of which rank 0 alone prints what it says."""


def is_consequence(error):
    """Whether an exception only says that a process at the other end is gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "Connection closed by peer" in text or "Connection reset by peer" in text
    )
