"""Work on a GPU recorded as CUDA graphs, in memory that they share."""

import contextlib

import torch


def can_be_captured(device):
    """Whether work on a torch device can become a CUDA graph."""
    return device.type == "cuda"


class GraphPool:
    """Captures graphs that are replayed one after the other and may use the same memory.

    What a graph leaves behind for others lies in tensors that were there before its capture; so
    the memory of all its own is free for the next graph.

    Args:
        device: torch device, a GPU.
    """

    def __init__(self, device):
        self.device = device
        self._handle = None

    def capture(self, work):
        """Records what `work()` does on the device, without doing it.

        Nothing may be read from the device meanwhile. Other threads go on: those that decode
        images may allocate and copy.

        Returns:
            Callable without arguments: it does all of it, in one launch.

        Raises:
            RuntimeError: something that a graph cannot do; nothing of the capture is left then.
        """
        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with undone_if_it_fails(self.device, self._handle):
            recording = torch.cuda.graph(
                graph, pool=self._handle, capture_error_mode="thread_local"
            )
            with recording:
                work()
        return graph.replay

    def release(self):
        """Gives the memory of graphs that nobody holds any more back to the device."""
        if self._handle is not None:
            self._handle = None  # torch takes no handle twice whose graphs are gone
            torch.cuda.empty_cache()


@contextlib.contextmanager
def undone_if_it_fails(device, pool):
    """After an error in a capture into a memory pool, nothing of the capture is left.

    `torch.cuda.graph` does not put the stream back when a capture was invalidated: everything
    after it would run on the capture's stream, unordered with the streams that copy batches.
    Depending on the version, the allocator also believes that the capture goes on, and keeps
    every block that another stream has used.
    """
    stream = torch.cuda.current_stream(device)
    try:
        yield
    except BaseException:
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(stream)
        with contextlib.suppress(RuntimeError):  # it raises where the capture was ended
            torch._C._cuda_endAllocateToPool(stream.device_index, pool)
        raise
