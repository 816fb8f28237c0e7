"""Work on a GPU recorded as CUDA graphs, in memory that they share."""

import contextlib
import gc

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
        self._handle = self._stream = None

    def capture(self, work):
        """Records what `work()` does on the device, without doing it.

        Nothing may be read from the device meanwhile. Other threads go on: those that decode
        images may allocate and copy.

        Returns:
            Callable without arguments: it does all of it, in one launch.

        Raises:
            RuntimeError: something that a graph cannot do, in the words of the error that `work`
                had; nothing of the capture is left then.
        """
        failures = []

        def watched():
            try:
                work()
            except Exception as error:
                failures.append(error)
                raise

        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
            # One of the device's own: torch's stream for captures belongs to one device for ever.
            self._stream = torch.cuda.Stream(self.device)
        # What earlier steps left in circles of Python's would tie the weights to their stream; so
        # does a loss that the user holds, but not where torch has the setting below.
        gc.collect()
        graph = torch.cuda.CUDAGraph()
        try:
            self._record(graph, watched)
        except Exception as error:
            # The end of such a capture has an error of its own, which only says that it failed.
            if failures and failures[0] is not error:
                raise RuntimeError(str(failures[0])) from failures[0]
            raise
        return graph.replay

    def _record(self, graph, work):
        settings = {"stream": self._stream, "capture_error_mode": "thread_local"}
        with (
            # Of a stream of another device nothing would be recorded: it would run, once.
            torch.cuda.device(self.device),
            undone_if_it_fails(self.device, self._handle),
            weights_of_its_stream(),
            torch.cuda.graph(graph, self._handle, **settings),
        ):
            work()

    def release(self):
        """Gives the memory of graphs that nobody holds any more back to the device."""
        if self._handle is not None:
            self._handle = None  # torch takes no handle twice whose graphs are gone
            torch.cuda.empty_cache()


@contextlib.contextmanager
def weights_of_its_stream():
    """Gradients of a capture are summed on its stream, also of weights that have been in use.

    Autograd sums a weight's gradient on the stream on which a graph of operations first used the
    weight, for as long as anybody holds one: a loss kept from before would end every capture.
    An older torch has no such setting: there that capture fails, and the steps are eager.
    """
    setting = getattr(torch.autograd.graph, "set_override_stale_capture_stream", None)
    if setting is None:
        yield
        return
    before = torch._C._override_stale_capture_stream()
    setting(True)
    try:
        yield
    finally:
        setting(before)


@contextlib.contextmanager
def undone_if_it_fails(device, pool):
    """After an error in a capture into a memory pool, nothing of the capture is left.

    `torch.cuda.graph` does not put the stream back when a capture was invalidated: everything
    after it would run on the capture's stream, unordered with the streams that copy batches.
    Depending on the version, the allocator also believes that the capture goes on, and keeps
    every block that another stream has used; so does the generator, which then draws nothing
    outside a capture any more.
    """
    stream = torch.cuda.current_stream(device)
    try:
        yield
    except BaseException:
        torch.cuda.synchronize(device)
        torch.cuda.set_stream(stream)
        with contextlib.suppress(RuntimeError):  # it raises where the capture was ended
            torch._C._cuda_endAllocateToPool(stream.device_index, pool)
        generator = torch.cuda.default_generators[stream.device_index]
        generator.graphsafe_set_state(generator.clone_state())  # the same numbers, in no capture
        raise
