"""Workers of a torch `DataLoader` that a signal to all processes of a group does not end."""

import contextlib
import multiprocessing
import os
import signal
import threading

from torch.utils.data import DataLoader

_SECONDS_BETWEEN_LOOKS = 5  # for a parent that was killed


class Outliving:
    """A `worker_init_fn` after which SIGTERM ends a worker if its parent sends it, and not else.

    Schedulers and terminals send a signal to the whole group of processes. The training saves
    after the step under way, for which it may be waiting for a worker's batch; torch's workers
    would be gone by then. Where the system does not say who sends a signal (macOS, Windows),
    workers end at any SIGTERM.

    Args:
        before: the `worker_init_fn` that the loader had, or `None`.
    """

    def __init__(self, before):
        self.before = before

    def __call__(self, number):
        # The parent ends its workers; Ctrl-C reaches the whole group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "sigtimedwait"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in all threads from now on
            threading.Thread(target=_wait_for_the_parents, daemon=True).start()
        if self.before is not None:
            self.before(number)


def _wait_for_the_parents():
    # Not `getppid`: a worker may be the child of a fork server.
    parent = multiprocessing.parent_process()
    ended = False
    while not ended:
        told = signal.sigtimedwait({signal.SIGTERM}, _SECONDS_BETWEEN_LOOKS)
        # torch looks after the process that forked the worker, which may outlive the training.
        ended = told.si_pid == parent.pid if told else not parent.is_alive()
    os._exit(0)  # as torch's own handler does


def let_workers_outlive(loader):
    """Lets the workers of a loader's next pass outlive a signal; anything else is left alone.

    Args:
        loader: what `fit` was given to train or to validate on, or `None`.

    Returns:
        Whether it has workers.
    """
    loader = of_phase(loader)
    if not isinstance(loader, DataLoader) or not loader.num_workers:
        return False
    if not isinstance(loader.worker_init_fn, Outliving):
        loader.worker_init_fn = Outliving(loader.worker_init_fn)
    return True


def start_workers_anew(loader):
    """Ends persistent workers of a loader, so that its next pass starts others.

    Workers that live on have random numbers of their own, which nobody can save, and draw no seed.
    """
    loader = of_phase(loader)
    if isinstance(loader, DataLoader) and loader.persistent_workers:
        loader._iterator = None


def of_phase(loader):
    """What a plan has for its phase, and anything else itself."""
    inner = getattr(loader, "data", None)
    return inner if isinstance(inner, DataLoader) else loader


@contextlib.contextmanager
def starting_workers():
    """Processes that are started inside have SIGTERM blocked from their birth; it comes later."""
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
