"""A function on several processes, from a notebook or a script that torchrun did not start."""

import os
import uuid
import warnings

from keras_dawn.distributed.ranks import current, distribute

import cloudpickle
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def launch(function, *arguments, processes=None, backend=None):
    """Runs a function on several processes of this machine, which train as one job.

    What torchrun is for a script, this is for a notebook: each process has its own GPU (NCCL), or
    its part of the processor's cores where there is none (gloo), has joined the others as
    `keras_dawn.distribute` says, and calls `function(*arguments)`. So the function builds, compiles
    and accelerates the model, and fits it. It may be one of the notebook's own: it travels by value
    (cloudpickle), with the variables that it uses. What it prints appears as the process's output.
    In a file, call it below `if __name__ == "__main__":`: the processes import the file.

    The processes are fresh ones. Nothing that the function changes is changed here; return
    what you want to keep, or save it on rank 0.

    Args:
        function: callable.
        *arguments: what it is called with, on every rank alike.
        processes: int, how many, or `None` for one a GPU. With 1 the function is called here.
        backend: `"nccl"`, `"gloo"` or `None`, as for `distribute`.

    Returns:
        list, what each rank's call returned, rank 0's first.

    Raises:
        ValueError: processes that have no GPU each, or a call within a job.
        RuntimeError: a process failed; the message has its traceback. The others are ended.

    Example:
        >>> keras_dawn.distributed.launch(lambda factor: 2 * factor, 21, processes=1)
        [42]
    """
    gpus = torch.cuda.device_count()
    if processes is None:
        processes = max(gpus, 1)
    if processes < 1:
        raise ValueError(f"`processes` must be at least 1, got {processes}.")
    if current().several or "WORLD_SIZE" in os.environ:
        raise ValueError("launch() starts a job, and this process belongs to one already.")
    if gpus and processes > gpus and backend != "gloo":
        raise ValueError(
            f"{processes} processes need a GPU each, and there are {gpus}: pass "
            f"processes={gpus}, or backend='gloo' to let them share."
        )
    if processes == 1:
        return [function(*arguments)]
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    # A plain pickle names a function by its module, and a notebook's has none.
    work = cloudpickle.dumps((function, arguments))
    try:
        with warnings.catch_warnings():  # of a machine whose own name does not resolve
            warnings.filterwarnings("ignore", message="Unable to resolve hostname")
            returned = elastic_launch(config, _work_of_a_rank)(work, processes, backend)
    except ChildFailedError as error:
        raise RuntimeError(_first_failure(error)) from None
    return [cloudpickle.loads(returned[rank]) for rank in range(processes)]


def _work_of_a_rank(work, processes, backend):
    if not torch.cuda.is_available():
        # Each process would use all cores, and they would wait for one another.
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    distribute(backend)
    function, arguments = cloudpickle.loads(work)
    return cloudpickle.dumps(function(*arguments))


def _first_failure(error):
    rank, failure = error.get_first_failure()
    message = failure.message
    if isinstance(message, dict):  # what torch records of an exception
        message = message.get("extraInfo", {}).get("py_callstack") or message.get("message")
    return f"Rank {rank} of the launched processes failed:\n{message}"
