"""CUDA graphs of a training graph's forward and backward pass, one for each input shape."""

import warnings

from keras_dawn.native.capture import GraphPool

import torch

WARM_UP_STEPS = 3
MOST_GRAPHS = 8


class GraphedForward:
    """Calls a lowered training module, through CUDA graphs where they exist.

    For a step that cannot be one graph (`steps/whole_step.py`): all kernels of the forward pass
    are one launch, and those of the backward pass are another. Graphs are made when a combination
    of shapes and dtypes has been seen in a few ordinary steps; a rare one, such as an epoch's last
    batch, runs eagerly until then. Loss, optimizer step and moving averages stay outside.

    If a graph cannot be made, a warning says so once and training goes on eagerly.

    Args:
        module: the lowered module, on a GPU; returns `(outputs, statistics)`.
        capture: callable `(module, inputs) -> callable`, what makes a graph.
    """

    def __init__(self, module, capture=None):
        self._module = module
        self._pool = None
        self._capture = capture or self._replayed
        self._seen = {}
        self._graphs = {}
        self._failed = False

    def __call__(self, *inputs):
        if self._failed or not torch.is_grad_enabled():
            return self._module(*inputs)
        key = tuple((tensor.shape, tensor.dtype, tensor.stride()) for tensor in inputs)
        if key not in self._graphs:
            self._seen[key] = self._seen.get(key, 0) + 1
            # cuDNN looks for its algorithms in the first steps, which a capture must not do.
            if self._seen[key] <= WARM_UP_STEPS or len(self._graphs) >= MOST_GRAPHS:
                return self._module(*inputs)
            try:
                self._graphs[key] = self._capture(self._module, inputs)
            except RuntimeError as error:
                self._failed = True
                warnings.warn(
                    f"No CUDA graph could be made ({error}); the steps run eagerly, with the "
                    "same results.",
                    stacklevel=2,
                )
                return self._module(*inputs)
        return self._graphs[key](*inputs)

    def release(self):
        """Drops the graphs and their memory; the next call with a known shape makes a new one."""
        self._graphs.clear()
        if self._pool is not None:
            self._pool.release()

    def _replayed(self, module, inputs):
        if self._pool is None:
            self._pool = GraphPool(inputs[0].device)
        return ReplayedPasses(module, inputs, self._pool)


class ReplayedPasses:
    """A module's forward pass as one graph and its backward pass as another, for one shape.

    The batch statistics come out as one tensor and are cut into views outside the graph. What the
    capture leaves is detached: nodes of its autograd graph, if they lived on, would belong to the
    capture's stream, which torch warns of in every later step.

    Args:
        module: the lowered module.
        inputs: list of tensors like those that it will be called with.
        pool: `GraphPool`.
    """

    def __init__(self, module, inputs, pool):
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.inputs = [tensor.detach().clone() for tensor in inputs]
        self.outputs, self.gradients, self._shapes = [], [], []
        self.replay_forward = pool.capture(lambda: self._run_forward(module))
        roots = [tensor for tensor in self.outputs if tensor.requires_grad]
        self.given = [torch.empty_like(tensor) for tensor in roots]
        self.reached = [_weights_behind(tensor) for tensor in roots]
        self.replay_backward = pool.capture(lambda: self._run_backward(roots))
        self.wanted = [tensor.requires_grad for tensor in self.outputs]
        self.outputs = [tensor.detach() for tensor in self.outputs]

    def _run_forward(self, module):
        outputs, statistics = module(*self.inputs)
        self._several = isinstance(outputs, tuple)
        self.outputs = list(outputs) if self._several else [outputs]
        flat = [tensor.detach() for pair in statistics for tensor in pair]
        self._shapes = [tensor.shape for tensor in flat]
        self.statistics = torch.cat([tensor.flatten() for tensor in flat]) if flat else None

    def _run_backward(self, roots):
        self.gradients = torch.autograd.grad(roots, self.parameters, self.given, allow_unused=True)

    def __call__(self, *inputs):
        outputs = _Replay.apply(self, *inputs, *self.parameters)
        parts = []
        if self.statistics is not None:
            parts = self.statistics.split([shape.numel() for shape in self._shapes])
            parts = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        pairs = tuple(zip(parts[::2], parts[1::2], strict=True))
        return (outputs if self._several else outputs[0]), pairs

    def gradients_by(self, given):
        """The gradients that the graph has left, `None` for weights that none of these reaches.

        Args:
            given: list of the gradients to the outputs that may have one, `None` where none came.
        """
        if all(gradient is not None for gradient in given):
            return self.gradients
        pairs = zip(self.reached, given, strict=True)
        reached = set().union(*(weights for weights, gradient in pairs if gradient is not None))
        return [
            gradient if id(weight) in reached else None
            for weight, gradient in zip(self.parameters, self.gradients, strict=True)
        ]


def _weights_behind(output):
    """The ids of the weights that a gradient to a tensor comes to."""
    if output.grad_fn is None:
        return {id(output)}
    found, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where gradients of a weight add up
            found.add(id(node.variable))
        waiting += [before for before, _ in node.next_functions]
    return found


class _Replay(torch.autograd.Function):
    """The forward graph now, the backward graph when gradients are asked for."""

    @staticmethod
    def forward(ctx, passes, *tensors):
        ctx.passes = passes
        ctx.set_materialize_grads(False)
        for own, given in zip(passes.inputs, tensors, strict=False):
            own.copy_(given, non_blocking=True)
        passes.replay_forward()
        outputs = tuple(tensor.clone() for tensor in passes.outputs)  # a loss may keep them
        ctx.mark_non_differentiable(
            *(t for t, wanted in zip(outputs, passes.wanted, strict=True) if not wanted)
        )
        return outputs

    @staticmethod
    def backward(ctx, *gradients):
        passes = ctx.passes
        asked = [g for g, wanted in zip(gradients, passes.wanted, strict=True) if wanted]
        for own, given in zip(passes.given, asked, strict=True):
            if given is None:
                # A loss may leave an output out; the graph reads its memory all the same.
                own.zero_()
            else:
                own.copy_(given)
        passes.replay_backward()
        found = (None if g is None else g.detach() for g in passes.gradients_by(asked))
        return None, *(None for _ in passes.inputs), *found
