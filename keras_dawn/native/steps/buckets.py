"""Gradients averaged over the ranks in the backward pass, in a way that a CUDA graph records."""

import contextlib

from keras_dawn.distributed.collectives import start_sum
from keras_dawn.distributed.ranks import current, note_parallel_model

import torch

_FIRST_BYTES, _BYTES = 2**20, 25 * 2**20  # as DistributedDataParallel's: a small one goes first


class BucketedReduction:
    """Averages the gradients of a graph of layers, whose backward pass is the same in every step.

    What DistributedDataParallel does, without its Python state between steps: a capture records
    the copies into buckets, the sums over the ranks on NCCL's own stream while the backward pass
    goes on, and the wait for them at its end; a replay does it all again. Ordinary steps go the
    same way, with the same sums. Which of these a step is, all ranks decide together
    (`CaptureAgreement`).

    Args:
        parameters: list of tensors in the order of the forward pass, alike on all ranks.
    """

    def __init__(self, parameters):
        note_parallel_model()
        self._buckets = [_Bucket(part) for part in _parts(parameters)]
        self._queued = False

    @contextlib.contextmanager
    def active(self):
        """A `backward` inside this context averages its gradients."""
        self._queued = False
        handles = []
        for bucket in self._buckets:
            bucket.begin()
            for place, parameter in enumerate(bucket.parameters):
                hook = self._hook_of(bucket, place)
                handles.append(parameter.register_post_accumulate_grad_hook(hook))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _hook_of(self, bucket, place):
        def hook(parameter):
            if not self._queued:
                self._queued = True
                torch.autograd.Variable._execution_engine.queue_callback(self._finish)
            bucket.reached.add(place)
            if len(bucket.reached) == len(bucket.parameters):
                bucket.send()

        return hook

    @torch.no_grad()
    def _finish(self):
        """Runs once, when the backward pass ends."""
        for bucket in self._buckets:
            if bucket.sum is None and bucket.reached:  # weights that the loss does not depend on
                bucket.send()
        for bucket in self._buckets:
            bucket.receive()


class _Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, parameters):
        self.parameters = parameters
        self._flat = torch.zeros(
            sum(p.numel() for p in parameters),
            dtype=parameters[0].dtype,
            device=parameters[0].device,
        )
        parts = self._flat.split([p.numel() for p in parameters])
        pairs = zip(parts, parameters, strict=True)
        self._views = [
            part.as_strided(p.shape, _dense(p), part.storage_offset()) for part, p in pairs
        ]
        self.begin()

    def begin(self):
        """Forgets what a step before, or one that failed, has left."""
        self.reached, self.sum, self._travelling = set(), None, self._flat

    @torch.no_grad()
    def send(self):
        """Starts the sum over the ranks."""
        places = sorted(self.reached)
        if len(places) < len(self.parameters):
            self._flat.zero_()
        gradients = [self.parameters[place].grad for place in places]
        torch._foreach_copy_([self._views[place] for place in places], gradients)
        compression = current().gradient_compression
        if compression is not None:
            self._travelling = self._flat.to(getattr(torch, compression))
        self._travelling.div_(current().world_size)  # before the sum, which might overflow
        self.sum = start_sum(self._travelling)

    def receive(self):
        """Waits for the sum, on the device alone, and leaves it in the gradients."""
        if self.sum is None:
            return
        self.sum.wait()
        if self._travelling is not self._flat:
            self._flat.copy_(self._travelling)
        for place in self.reached:
            self.parameters[place].grad = self._views[place]


def _parts(parameters):
    """Parameters by bucket: the last of the forward pass first, of one dtype each."""
    part, size, most = [], 0, _FIRST_BYTES
    for parameter in reversed(parameters):
        if part and (size >= most or parameter.dtype != part[0].dtype):
            yield part
            part, size, most = [], 0, _BYTES
        part.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if part:
        yield part


def _dense(parameter):
    """Strides in which a gradient has no gaps, as the parameter's where that has none."""
    return torch.empty_like(parameter, device="meta").stride()
