"""How much memory a piece of work takes at its peak, beyond what it began with."""

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
