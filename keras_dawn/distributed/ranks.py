"""The processes of one job: who I am, how we talk, how we end."""

import atexit
import contextlib
import datetime
import os
import sys
import time
import warnings
from dataclasses import dataclass, replace

from keras_dawn.distributed.errors import OnAllRanksError, is_consequence
from keras_dawn.distributed.plain_start import say_how_to_use_all, say_who_works_alone
from keras_dawn.distributed.rendezvous import fresh_store

import torch
import torch.distributed as dist

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_COMPRESSIONS = (None, "float16", "bfloat16")
_GOODBYE_SECONDS = 30  # how long the first to end waits for the others
_AFTER_MAIN = 2  # seconds in which rank 0 has said what all refuse
_EVICTED = 75  # the exit code (EX_TEMPFAIL) of all ranks together when a training was saved


@dataclass(frozen=True)
class Ranks:
    """This process's place in the job.

    Args:
        rank: int, 0 to `world_size - 1`, over all machines.
        world_size: int, number of processes; 1 without torchrun.
        local_rank: int, number of the process on its machine, and of its GPU.
        backend: `"nccl"`, `"gloo"` or `None` for a single process.
        gradient_compression: dtype name that gradients travel in, or `None`.
        control: process group for messages between the hosts, or `None`.
        passes: another process group, for messages about backward passes alone: a pass that only
            one rank makes is noticed there, as its message cannot meet one of another kind.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    backend: str | None = None
    gradient_compression: str | None = None
    control: object = None
    passes: object = None

    @property
    def is_main(self):
        """Whether this process prints, logs and writes."""
        return self.rank == 0

    @property
    def several(self):
        """Whether there is more than one process."""
        return self.world_size > 1


_current = Ranks()
_failed = False
_parallel_models = 0  # how many models were put under DistributedDataParallel


def current():
    """This process's `Ranks`; a single process where `distribute` was not called."""
    return _current


def distribute(backend=None, *, timeout_seconds=600, gradient_compression=None):
    """Joins the processes that torchrun started into one training job.

    Call it first in a script; without torchrun, or with one process, it does nothing, but says
    in one line how to use all GPUs where there are several.
    From then on `fit` and `evaluate` of an accelerated model work on all processes
    together and give what one process would: batch size and learning rate are those of
    the whole job, every process takes its share of each batch, gradients are averaged by
    torch's `DistributedDataParallel` during the backward pass, and metrics are those of
    all data. Only rank 0 shows progress and saves. Call `fit` and `evaluate` on all ranks
    alike.

    An exception on one rank ends the job, with that rank's message as the cause.

    Another call returns the same; a `gradient_compression` that it names counts for models that
    were not trained yet.

    Args:
        backend: `"nccl"`, `"gloo"`, or `None`: NCCL where there is a GPU for each process.
        timeout_seconds: how long a process waits for the others before it gives up.
        gradient_compression: `"float16"` or `"bfloat16"`, the dtype that gradients travel
            in, or `None` for their own. Halves the bytes, at that dtype's precision.

    Returns:
        `Ranks`.

    Raises:
        ValueError: an unknown argument, an incomplete environment, or another backend than in an
            earlier call.

    Example:
        >>> ranks = keras_dawn.distribute()
        >>> ranks.world_size
        1
    """
    global _current
    if gradient_compression not in _COMPRESSIONS:
        raise ValueError(
            f"`gradient_compression` must be one of {_COMPRESSIONS}, got {gradient_compression!r}."
        )
    if backend not in (None, "nccl", "gloo"):
        raise ValueError(f'`backend` must be "nccl", "gloo" or None, got {backend!r}.')
    if _current.several:
        return _joined_before(backend, gradient_compression)
    world_size, rank, local_rank = _environment()
    if world_size == 1:
        say_who_works_alone()
        say_how_to_use_all()
        return _current
    gpus = torch.cuda.device_count()
    if backend is None:
        backend = "nccl" if gpus else "gloo"
    if backend == "nccl":
        if local_rank >= gpus:
            raise ValueError(
                f"Process {local_rank} of this machine finds no GPU of its own: there are {gpus}. "
                f"Start torchrun with --nproc-per-node={gpus}, or pass backend='gloo'."
            )
        torch.cuda.set_device(local_rank)
    timeout = datetime.timedelta(seconds=timeout_seconds)
    with warnings.catch_warnings():
        # gloo warns where the machine's own name does not resolve; it then uses loopback.
        warnings.filterwarnings("ignore", message="Unable to resolve hostname")
        store = fresh_store(rank, world_size, timeout)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=timeout
        )
        control, passes = (dist.new_group(backend="gloo", timeout=timeout) for _ in range(2))
    _current = Ranks(rank, world_size, local_rank, backend, gradient_compression, control, passes)
    # gloo aborts in one of five runs that end without `destroy_process_group`.
    atexit.register(_part)
    _say_who_failed()
    _note_exits()
    return _current


def note_parallel_model():
    """Remembers that a model is trained by all processes together."""
    global _parallel_models
    _parallel_models += 1


def _joined_before(backend, gradient_compression):
    """What another call changes, as in a function that `launch` has called."""
    global _current
    if backend not in (None, _current.backend):
        raise ValueError(
            f"This process has joined its job over {_current.backend}, and backend={backend!r} "
            "would be another one: name it in the first call, or in `launch`."
        )
    if gradient_compression is not None:
        _current = replace(_current, gradient_compression=gradient_compression)
    return _current


def _environment():
    """`(world_size, rank, local_rank)` from torchrun's environment variables."""
    if "WORLD_SIZE" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        return 1, 0, 0
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} is not set. Start "
            "the script with torchrun, which sets all of them, or unset WORLD_SIZE."
        )
    return tuple(int(os.environ[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))


def _say_who_failed():
    """Marks this process's uncaught exception with its rank and hands it to torchrun."""
    previous = sys.excepthook

    def hook(kind, error, traceback):
        global _failed
        _failed = True
        sys.stdout.flush()
        if isinstance(error, OnAllRanksError) and not _current.is_main:
            time.sleep(_AFTER_MAIN)  # torchrun ends the others once one has ended
            print(f"rank {_current.rank}: refused, as on rank 0.", file=sys.stderr)
        elif is_consequence(error):
            print(
                f"rank {_current.rank}: stops, because another rank has ended "
                f"({str(error).splitlines()[0]}).",
                file=sys.stderr,
            )
        else:
            print(f"rank {_current.rank} of {_current.world_size} failed:", file=sys.stderr)
            previous(kind, error, traceback)
        sys.stderr.flush()
        # torchrun was interrupted as well, and reports no failure then.
        if not issubclass(kind, KeyboardInterrupt):
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler

            try:
                raise error.with_traceback(traceback)
            except kind:  # torchrun's report quotes the exception being handled
                get_error_handler().record_exception(error)

    sys.excepthook = hook


def _note_exits():
    """Takes note of `sys.exit` with an error, which no hook of Python's is told about.

    absl's usage errors end so, too. The others are in the middle of something that this process
    no longer takes part in: it must not wait for them.
    """
    previous = sys.exit

    def leave(code=None):
        global _failed
        if code not in (None, 0, _EVICTED):
            _failed = True
            print(f"rank {_current.rank} of {_current.world_size} calls sys.exit.", file=sys.stderr)
        previous(code)

    sys.exit = leave


def _part():
    """Leaves the job at exit; a process that failed does not wait for the others."""
    if not dist.is_initialized():
        return
    if _failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # tearing down could wait for processes that are gone
    if not _parallel_models and _current.is_main:
        warnings.warn(
            f"keras_dawn.distribute() joined {_current.world_size} processes, but none trained an "
            "accelerated model: each has worked alone. Call keras_dawn.accelerate(model).",
            stacklevel=1,
        )
    with contextlib.suppress(RuntimeError):  # the others may have gone already
        dist.monitored_barrier(
            group=_current.control, timeout=datetime.timedelta(seconds=_GOODBYE_SECONDS)
        )
    with contextlib.suppress(RuntimeError):
        dist.destroy_process_group()
