"""What the processes exchange besides gradients: weights, sums, averages, agreement."""

import contextlib

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation.model_state import overwrite

import torch
import torch.distributed as dist


def broadcast(tensors):
    """Gives every rank the values of rank 0, in place; one message for each dtype."""
    for group, flat in _packed(tensors):
        dist.broadcast(flat, 0, group=_process_group(flat))
        if not current().is_main:
            _unpack(flat, group)


def sum_over_ranks(tensors):
    """Replaces tensors by their sums over the ranks, in place."""
    for group, flat in _packed(tensors):
        dist.all_reduce(flat, group=_process_group(flat))
        _unpack(flat, group)


def start_sum(tensor):
    """Begins to replace a tensor by its sum over the ranks; returns what to `wait()` for.

    On NCCL both are work for the device, which a CUDA graph can record.
    """
    return dist.all_reduce(tensor, group=_process_group(tensor), async_op=True)


def average_over_ranks(tensors):
    """Replaces floating-point tensors by their means over the ranks, in place."""
    for group, flat in _packed(tensors):
        dist.all_reduce(flat, group=_process_group(flat))
        _unpack(flat / current().world_size, group)


def least_over_ranks(numbers):
    """The smallest of all ranks' ints, place by place: a message between the hosts, waited for."""
    least = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(least, dist.ReduceOp.MIN, group=current().control)
    return least.tolist()


def gather(value):
    """Every rank's value of a small Python object, as a list in the order of the ranks."""
    ranks = current()
    values = [None] * ranks.world_size
    dist.all_gather_object(values, value, group=ranks.control)
    return values


@contextlib.contextmanager
def main_first():
    """The first process of each machine runs the body before the others do.

    For instance to download a data set once.
    """
    ranks = current()
    if ranks.several and ranks.local_rank != 0:
        dist.barrier(group=ranks.control)
    try:
        yield
    finally:  # after an error too: the others then meet it themselves
        if ranks.several and ranks.local_rank == 0:
            dist.barrier(group=ranks.control)


class Agreement:
    """Lets all ranks act in the same step on what one of them asks for.

    Each step's question travels while the next step computes, so nobody waits: the
    answer comes one step late, and at the same step everywhere. The largest value wins.
    """

    def __init__(self):
        self._asked = 0
        self._travelling = None

    def exchange(self, value):
        """Asks for `value` (int) and returns the answer to the previous step's question."""
        answer = self._arrived()
        self._asked = max(self._asked, value)
        question = torch.tensor([self._asked])
        work = dist.all_reduce(question, dist.ReduceOp.MAX, group=current().control, async_op=True)
        self._travelling = (work, question)
        return answer

    def settle(self, value):
        """Asks and waits for the answer, for instance at the end of an epoch."""
        # The question under way is answered first, or its answer would be taken for the new one's.
        self.exchange(max(value, self._arrived()))
        return self._arrived()

    def _arrived(self):
        if self._travelling is None:
            return 0
        work, question = self._travelling
        self._travelling = None
        work.wait()
        return int(question)


def _process_group(tensor):
    """The processes' group for a tensor: NCCL takes none in the host's memory."""
    return current().control if tensor.device.type == "cpu" else None


_AS_INT64 = (torch.bool, torch.uint16, torch.uint32)  # which the backends cannot add


def _packed(tensors):
    """`(tensors, their values in one flat tensor)` for each dtype, ready to be sent."""
    groups = {}
    for tensor in tensors:
        # One message for all of a kind: hundreds of small ones would each wait for the network.
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for (dtype, _), group in groups.items():
        wire = torch.int64 if dtype in _AS_INT64 else dtype
        yield group, torch.cat([tensor.detach().to(wire).reshape(-1) for tensor in group])


def _unpack(flat, tensors):
    start = 0
    for tensor in tensors:
        part = flat[start : start + tensor.numel()]
        overwrite(tensor, part.view(tensor.shape))
        start += tensor.numel()
