"""CUDA graphs of a training graph's forward and backward pass, one for each input shape."""

import contextlib
import warnings

import torch

WARM_UP_STEPS = 3
MOST_GRAPHS = 8


class GraphedForward:
    """Calls a lowered training module, through a CUDA graph where one exists.

    A graph replays all kernels of the forward and the backward pass in one launch. It is
    made by `torch.cuda.make_graphed_callables` when a combination of shapes and dtypes has
    been seen in a few ordinary steps; a rare one, such as an epoch's last batch, runs
    eagerly until then, and so does everything on a CPU. Loss, optimizer step and moving
    averages stay outside: they take numbers from the host, such as momentum, that a graph
    would freeze. Nothing in the module changes state, so making a graph leaves no trace
    but the random draws of its trial runs.

    If a graph cannot be made, a warning says so once and training goes on eagerly.

    Args:
        module: the lowered module; returns `(outputs, statistics)`.
        capture: callable `(module, inputs) -> callable`, what makes a graph.
    """

    def __init__(self, module, capture=None):
        self._module = module
        self._capture = capture or _capture
        self._seen = {}
        self._graphs = {}
        self._failed = False

    def __call__(self, *inputs):
        if self._failed or not torch.is_grad_enabled():
            return self._module(*inputs)
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self._graphs:
            self._seen[key] = self._seen.get(key, 0) + 1
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


class _Shell(torch.nn.Module):
    """The module with flat outputs, as `make_graphed_callables` wants them.

    It also replaces the `forward` of what it is given: that is then this shell's, not the
    module's, which other shapes go on using.
    """

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.structure = None

    def forward(self, *inputs):
        outputs, statistics = self.module(*inputs)
        several = isinstance(outputs, tuple)
        flat = outputs if several else (outputs,)
        self.structure = (several, len(flat))
        return (*flat, *(tensor for pair in statistics for tensor in pair))

    def unflatten(self, flat):
        several, count = self.structure
        outputs = flat[:count] if several else flat[0]
        rest = flat[count:]
        return outputs, tuple(zip(rest[::2], rest[1::2], strict=True))


def _capture(module, inputs):
    shell = _Shell(module)
    samples = tuple(tensor.detach().clone() for tensor in inputs)
    with _undone_if_it_fails(inputs[0].device) as pool:
        graphed = torch.cuda.make_graphed_callables(
            shell, samples, num_warmup_iters=WARM_UP_STEPS, pool=pool
        )
    return lambda *batch: shell.unflatten(graphed(*batch))


@contextlib.contextmanager
def _undone_if_it_fails(device):
    """Yields a memory pool to capture into; after an error nothing of the capture is left.

    `torch.cuda.graph` does not put the stream back when a capture was invalidated: everything
    after it would run on the capture's stream, unordered with the streams that copy batches.
    Depending on the version, the allocator also believes that the capture goes on, and keeps
    every block that another stream has used.
    """
    stream, pool = torch.cuda.current_stream(device), torch.cuda.graph_pool_handle()
    try:
        yield pool
    except BaseException:
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(stream)
        with contextlib.suppress(RuntimeError):  # it raises where the capture was ended
            torch._C._cuda_endAllocateToPool(stream.device_index, pool)
        raise
