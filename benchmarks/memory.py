"""How much memory a piece of work takes at its peak, beyond what it began with."""

import gc
import json
import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(work):
    """Runs `work()` and returns the most bytes that its tensors took at once.

    Counted from the allocations and releases that torch itself reports, so memory that the
    allocator keeps for later does not count; on a GPU, from the caching allocator's counter.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        held += change
        peak = max(peak, held)
    return peak


def reserved():
    """Bytes that the caching allocator holds and cannot give back, CUDA graphs' pools included.

    What nobody uses any more is given back first. 0 without a GPU.
    """
    if not torch.cuda.is_available():
        return 0
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def peak_reserved_bytes(work, before):
    """Runs `work()` and returns the most bytes that were reserved, less those `before`.

    A card has to have these: a graph's private pool counts from its capture on, whoever uses it,
    and so do weights and states that were made since `before = reserved()`. Needs a GPU.
    """
    reserved()  # what the steps before it left is given back
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_reserved() - before
