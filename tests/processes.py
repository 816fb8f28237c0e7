"""Processes that are forked from one that has imported Keras: a start costs no import.

What only a fresh interpreter can show, such as the choice of Keras's backend, is tested in one.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.distributed.run import main as run_as_torchrun

_forks = "forkserver" in multiprocessing.get_all_start_methods()  # not so on Windows
_processes = multiprocessing.get_context("forkserver" if _forks else "spawn")
if _forks:
    _preloaded = ["keras_dawn", "tests.processes", "torchvision", "matplotlib.pyplot", "rich"]
    _processes.set_forkserver_preload(_preloaded)


class Program:
    """A function in a process of its own, whose output is kept.

    Args:
        function: one that an `import` finds.
        *arguments: its arguments.
        cwd: folder to run it in, or `None`.
        **environment: variables to set.

    Attributes:
        process: `multiprocessing.Process`.
    """

    def __init__(self, function, *arguments, cwd=None, **environment):
        output, end = _processes.Pipe(duplex=False)  # a file may be full
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment}
        work = (end, str(cwd or Path.cwd()), environment, function, arguments)
        self.process = _processes.Process(target=_work, args=work)
        self.process.start()
        end.close()
        self._printed = b""
        self._reading = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reading.start()

    def _read(self, output):
        with open(output.fileno(), "rb", buffering=0, closefd=False) as file:
            while part := file.read(65536):
                self._printed += part
        output.close()

    def wait(self, seconds=200):
        """Waits for the end: an object with `returncode` and all that was `printed`."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f"After {seconds} s it still ran: {self._printed.decode()}")
        self._reading.join(10)
        return SimpleNamespace(returncode=self.process.exitcode, printed=self._printed.decode())

    def kill_once_there(self, path):
        """Kills it once it has written a file; what `wait` returns."""
        assert wait_for(lambda: path.exists() or not self.process.is_alive())
        self.process.kill()
        return self.wait()


def start(path, *flags, cwd, prepare=None):
    """Starts a script with flags, after a call of `prepare` in its process."""
    return Program(script, path, flags, prepare, cwd=cwd)


def run(path, *flags, cwd, prepare=None):
    """Runs a script to its end: an object with `returncode` and `printed`."""
    return start(path, *flags, cwd=cwd, prepare=prepare).wait()


def script(path, flags, prepare=None):
    """Turns this process into one that runs a script with flags, after a call of `prepare`."""
    sys.argv = [str(path), *flags]
    sys.path.insert(0, str(Path(path).parent))
    if prepare:
        prepare()
    runpy.run_path(str(path), run_name="__main__")


def run_ranks(ranks, function, *arguments, seconds=120, cwd=None, **environment):
    """Runs a function on several ranks, without torchrun.

    Returns:
        object with the `returncodes` of all ranks and what they `printed`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment |= {
        "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)
    }  # fmt: skip
    programs = [
        Program(function, *arguments, RANK=rank, LOCAL_RANK=rank, cwd=cwd, **environment)
        for rank in map(str, range(ranks))
    ]
    for program in reversed(programs):
        program.process.join(seconds)
    for program in programs:
        program.process.kill()  # no effect on one that has ended
    ended = [program.wait() for program in programs]
    return SimpleNamespace(
        returncodes=[rank.returncode for rank in ended],
        printed="".join(rank.printed for rank in ended),
    )


def torchrun(ranks, *arguments, seconds=300, **environment):
    """Runs a script under torchrun, whose ranks are fresh interpreters.

    Returns:
        object with `returncode` and what launcher and ranks `printed`.
    """
    command = ["--standalone", f"--nproc-per-node={ranks}", *map(str, arguments)]
    environment |= {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    return Program(run_as_torchrun, command, **environment).wait(seconds)


def wait_for(condition, seconds=120):
    """Waits until a condition holds, at most so long; whether it does."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def _work(output, cwd, environment, function, arguments):
    gc.freeze()  # what is imported already lives to the end
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    try:
        function(*arguments)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
