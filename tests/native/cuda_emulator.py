"""CUDA graphs on a CPU: a capture is a tape of dispatched operations, a replay runs it again.

Everything above the driver is the real thing: what is captured when, static inputs, the memory that
graphs and their callers look at. What a graph freezes (Python numbers, tensors that are made anew)
is frozen here; as on a GPU, a capture computes nothing, reading a number by `item()` or copying one
from the host fails in it, and memory that nobody holds holds garbage (`pool_memory.py`). What a
processor does without an operation (`tolist()`, `numpy()`, `cpu()`) only the null GPU notices.
"""

import contextlib
import gc
import weakref
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from tests.native.pool_memory import PoolMemory, storages

_READS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2",
    "unique_dim", "unique_consecutive", "bincount", "repeat_interleave",
}  # fmt: skip
_NOT_PERMITTED = "operation not permitted when stream is capturing"
_COPIES = {"lift_fresh", "_pin_memory"}  # `torch.tensor` of numbers
_library = torch.library.Library("emulated", "DEF")
_library.define("sum_over_ranks_(Tensor(a!) tensor, int capture) -> ()")

_SUM = torch.ops.emulated.sum_over_ranks_.default
_EAGER = 0  # no capture's number


def _sum_over_ranks(tensor, capture):
    """As NCCL asks for it, all ranks replay graphs that they have captured together, or none."""
    first = torch.tensor([capture, -capture])
    torch.distributed.all_reduce(first, torch.distributed.ReduceOp.MIN)
    if first[0] != -first[1]:
        numbers = f"{int(first[0])} and {-int(first[1])}"
        raise AssertionError(f"Ranks go by captures {numbers} (0: none) in one step.")
    torch.distributed.all_reduce(tensor)


_library.impl("sum_over_ranks_", _sum_over_ranks, "CPU")


class Graph:
    """Stands for `torch.cuda.CUDAGraph`; counts what was made and replayed."""

    made = replayed = begun = 0
    memories = []

    def __init__(self):
        self.tape = []
        Graph.begun += 1
        self.number = Graph.begun  # the same on all ranks if they capture together
        self.memory = None  # `PoolMemory`, once it is captured

    def end(self, own):
        """The capture is over: as on a GPU, what it would compute is not there."""
        Graph.made += 1
        self.memory = PoolMemory(self.tape, own)
        self.memory.spoil(all_of_it=True)
        Graph.memories.append(weakref.ref(self.memory))

    @torch.no_grad()
    def replay(self):
        Graph.replayed += 1
        self.memory.check()
        self._run()
        for memory in filter(None, (reference() for reference in Graph.memories)):
            memory.spoil()

    def _run(self):
        for function, args, kwargs, recorded in self.tape:
            found = tree_leaves(function(*args, **kwargs))
            for old, new in zip(tree_leaves(recorded), found, strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _where_it_lies(part):
    """A tensor's memory of now, as a graph has it: its owner may get another one."""
    return torch.ops.aten.alias(part) if isinstance(part, torch.Tensor) else part


class _Tape(TorchDispatchMode):
    """Writes operations down, and takes back what they wrote when the capture ends."""

    def __init__(self, graph):
        super().__init__()
        self._graph = graph
        self._before = {}  # memory → (all of it, what was in it)
        self._random = torch.get_rng_state()
        self._outside, self.own = set(), set()  # memory, by identity

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name.split("::")[1]
        if name in _READS or name in _COPIES:
            raise RuntimeError(f"{name}: {_NOT_PERMITTED}")
        self._keep(function, args, kwargs)
        if name == "index" and any(t.dtype == torch.bool for t in args[1] if t is not None):
            raise RuntimeError(f"{name}: {_NOT_PERMITTED}")
        self._outside |= {one for one, _ in storages((args, kwargs)) if one not in self.own}
        if function is _SUM:  # only recorded
            result, args = None, (args[0], self._graph.number)
        else:
            result = function(*args, **kwargs)
        self.own |= {one for one, _ in storages(result) if one not in self._outside}
        self._graph.tape.append((function, *tree_map(_where_it_lies, (args, kwargs, result))))
        return result

    def _keep(self, function, args, kwargs):
        for place, argument in enumerate(function._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            for tensor in tree_leaves(given):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._before:
                    whole = torch.empty(0, dtype=torch.uint8).set_(storage)
                    self._before[storage.data_ptr()] = whole, whole.clone()

    def undo(self):
        for whole, content in self._before.values():
            whole.copy_(content)
        self._before.clear()
        torch.set_rng_state(self._random)


@contextlib.contextmanager
def _capture(graph, pool=None, **_):
    tape = _Tape(graph)
    try:
        with tape:
            yield
    except RuntimeError as error:
        if _NOT_PERMITTED in str(error):  # the capture's end has an error of its own
            raise RuntimeError("operation failed due to a previous error during capture") from error
        raise
    finally:
        tape.undo()
    graph.end(tape.own)


class _Sum:
    """A sum over the ranks as NCCL computes it: recorded like all work for the device."""

    def __init__(self, tensor):
        torch.ops.emulated.sum_over_ranks_(tensor, _EAGER)

    def wait(self):
        """Nothing: it is there."""


def nccl_on_a_cpu():
    """Inside this context several ranks sum up in a way that can be captured.

    A sum fails in which one rank replays a graph and another one does not, or one of another
    capture. A capture itself waits for nobody, as NCCL's does not: one that fails can be seen to.
    """
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch("keras_dawn.native.parallel.why_no_graph", lambda: None))
    stack.enter_context(mock.patch("keras_dawn.native.steps.buckets.start_sum", _Sum))
    return stack


@contextlib.contextmanager
def cuda_graphs_on_a_cpu():
    """Inside this context a CPU counts as a device whose work can be captured; yields `Graph`."""
    stream, generator = mock.Mock(device_index=0), mock.Mock()
    replaced = (
        ("keras_dawn.native.capture.can_be_captured", lambda device: True),
        ("torch.cuda.CUDAGraph", Graph),
        ("torch.cuda.graph", _capture),
        ("torch.cuda.graph_pool_handle", lambda: (0, 0)),
        ("torch.cuda.Stream", lambda *_: stream),
        ("torch.cuda.device", lambda *_: contextlib.nullcontext()),
        ("torch.cuda.default_generators", (generator,)),
        ("torch.cuda.current_stream", lambda *_: stream),
        ("torch.cuda.set_stream", lambda *_: None),
        ("torch.cuda.synchronize", lambda *_: None),
        ("torch.cuda.empty_cache", lambda: None),
        ("torch._C._cuda_endAllocateToPool", lambda *_: None),
    )
    with contextlib.ExitStack() as stack:
        for name, value in replaced:
            stack.enter_context(mock.patch(name, value, create=True))
        # A capture collects garbage first: all of Keras and torch need not be looked through.
        gc.freeze()
        stack.callback(gc.unfreeze)
        Graph.made = Graph.replayed = Graph.begun = 0
        Graph.memories.clear()
        yield Graph
