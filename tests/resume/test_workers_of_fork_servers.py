"""Workers that a fork server has started: their parent is the training, not that server."""

import multiprocessing
import os
import signal
import time

from keras_dawn.resume.loader_workers import Outliving

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "sigtimedwait"), reason="the system does not say who sends a signal"
)
SERVER = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")


def work(ready):
    Outliving(None)(0)
    ready.set()
    time.sleep(100)


def parent(sender):
    ready = SERVER.Event()
    worker = SERVER.Process(target=work, args=(ready,))
    worker.start()
    ready.wait(60)
    sender.send(worker.pid)
    time.sleep(100)


def test_a_worker_ends_when_its_training_says_so_and_at_no_other_sigterm():
    ready = SERVER.Event()
    worker = SERVER.Process(target=work, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(60)
    other = SERVER.Process(target=os.kill, args=(worker.pid, signal.SIGTERM))
    other.start()
    other.join(60)
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


@pytest.mark.slow
def test_a_worker_whose_training_was_killed_ends():
    receiver, sender = SERVER.Pipe(duplex=False)
    training = SERVER.Process(target=parent, args=(sender,))
    training.start()
    pid = receiver.recv()
    training.kill()
    training.join(20)
    end = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.1)
