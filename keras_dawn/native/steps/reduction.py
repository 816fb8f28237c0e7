"""Gradients of a model that keeps its Python, averaged over the ranks in the backward pass."""

import contextlib

from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current, note_parallel_model
from keras_dawn.distributed.same_everywhere import differing
from keras_dawn.native.synchronized import gradients_weigh

import torch
import torch.distributed as dist


class GradientReduction:
    """Averages gradients when a backward pass ends, whichever weights it has reached.

    DistributedDataParallel wants a module whose every backward pass is alike. A `train_step` of
    one's own may have several passes and several optimizers, and reach other weights in each; so
    the ranks first tell each other which weights got a gradient, and a rank that has none for a
    weight takes part with zeros. What an earlier pass has left in a gradient is the same on all
    ranks already, and its mean is itself.

    Args:
        parameters: list of tensors, alike on all ranks; those that do not require a gradient
            may come to require one, as a layer is thawed.
        weight: callable without arguments: what this rank's part of the batch weighs, 1 where
            all ranks have as many images.

    Attributes:
        step: int, the step under way; ranks must make as many backward passes in each.
    """

    def __init__(self, parameters, weight=lambda: 1.0):
        self._parameters = [p for p in parameters if p.is_floating_point()]
        self._weight = weight
        self.step = 0
        self._reached = set()
        self._queued = False
        self._handles = []

    @contextlib.contextmanager
    def active(self):
        """Every `backward` inside this context averages its gradients."""
        note_parallel_model()
        for number, parameter in enumerate(self._parameters):
            frozen = not parameter.requires_grad
            parameter.requires_grad_(True)  # torch takes no hook for a frozen one
            hook = parameter.register_post_accumulate_grad_hook(self._hook_of(number))
            self._handles.append(hook)
            if frozen:
                parameter.requires_grad_(False)
        try:
            with gradients_weigh(self._weight):
                yield self
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def _hook_of(self, number):
        def hook(parameter):
            self._reached.add(number)
            if not self._queued:
                self._queued = True
                torch.autograd.Variable._execution_engine.queue_callback(self._reduce)

        return hook

    @torch.no_grad()
    def _reduce(self):
        """Runs once, when the backward pass ends."""
        reached, self._reached, self._queued = self._reached, set(), False
        # Which weights: agreed on first, or ranks would wait for sums that others do not make.
        flags = self._exchange(reached)
        factor = self._weight() / current().world_size
        gradients = []
        for number in flags.nonzero().flatten().tolist():
            parameter = self._parameters[number]
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        torch._foreach_mul_(gradients, factor)
        if current().gradient_compression is None:
            sum_over_ranks(gradients)
            return
        dtype = getattr(torch, current().gradient_compression)
        # Scaled before: the sum over many ranks could leave float16's range.
        travelling = [gradient.to(dtype) for gradient in gradients]
        sum_over_ranks(travelling)
        torch._foreach_copy_(gradients, travelling)

    def next_step(self):
        """Tells that a step of `fit` begins; a backward pass that failed leaves nothing behind."""
        self.step += 1
        self._reached, self._queued = set(), False

    def meet(self):
        """Shows that no rank has a backward pass of the step left, at the end of an epoch."""
        self.next_step()
        self._exchange(())

    def _exchange(self, reached):
        """How many ranks have reached each parameter.

        Raises:
            ValueError: the ranks are not in the same step.
        """
        flags = torch.zeros(len(self._parameters) + 1, dtype=torch.int64)
        flags[list(reached)] = 1
        flags[-1] = self.step
        dist.all_reduce(flags, group=current().passes)
        if int(flags[-1]) != self.step * current().world_size:
            raise ValueError(
                "A train_step makes more backward passes on one rank than on another, so their "
                "gradients cannot be averaged. Make as many for every batch; a pass may reach "
                "other weights on each rank."
            )
        return flags[:-1]


def check_equal_weights(variables):
    """Raises where ranks have drifted apart, as after gradients that no `backward` computed.

    Raises:
        ValueError: the weights differ between ranks.
    """
    for variable in differing(variables):
        raise ValueError(
            f"{variable.path} differs between the ranks. Gradients are averaged in "
            "`loss.backward()`; a train_step that takes them from torch.autograd.grad, or "
            "changes weights by itself, has to average them over the ranks too."
        )
