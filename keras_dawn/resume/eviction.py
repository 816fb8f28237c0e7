"""Notice that a spot machine is about to be taken away: a signal, or the cloud's own word."""

import contextlib
import json
import signal
import threading
import urllib.error
import urllib.request
import warnings
import weakref

from keras_dawn.foundation.keras_fit import is_within

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: saved, start the same command again


EVICTED, INTERRUPTED = 2, 3  # what `Notices.told` answers


class Evicted(SystemExit):
    """Ends the process with `EXIT_CODE` after its checkpoint was written."""

    def __init__(self):
        super().__init__(EXIT_CODE)


class EvictionNotice:
    """Asks a cloud's metadata service, in a thread, whether this machine will be taken away.

    EC2 does not signal a process at its two minutes' notice, GCP and Azure signal only a
    shutdown script: something has to ask. Nothing is asked before a training begins.

    Args:
        cloud: `"aws"` (spot instance-action, IMDSv2), `"gcp"` (preempted) or `"azure"` (scheduled
            events of the type Preempt).
        every_seconds: float above 0, how often.
        url: str, where the service is, by default the cloud's address.

    Raises:
        ValueError: another cloud, or a bad interval.

    Example:
        >>> notice = EvictionNotice("aws")
        >>> resume = keras_dawn.ResumeTraining("checkpoints", every_seconds=60, notice=notice)
    """

    def __init__(self, cloud, *, every_seconds=5.0, url=None):
        if cloud not in CLOUDS:
            raise ValueError(f"`cloud` must be one of {', '.join(CLOUDS)}, got {cloud!r}.")
        if not every_seconds > 0:
            raise ValueError(f"`every_seconds` must be above 0, got {every_seconds}.")
        self.cloud, self.every_seconds = cloud, every_seconds
        default, self._ask = _SERVICES[cloud]
        self.url = (url or default).rstrip("/")
        self.received = False
        self._thread = None
        self._end = threading.Event()

    def start(self):
        """Begins to ask, if it does not yet."""
        if self._thread is None and not self.received:
            self._end.clear()
            # A daemon: a training that fails must not wait for the cloud's answer.
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def stop(self):
        """Asks no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _watch(self):
        warned = False
        while not self._end.is_set():
            try:
                if self._ask(self.url):
                    self.received = True
                    return
            # Whatever it is that comes back: a thread that ended would never see the notice.
            except Exception as error:
                if not warned:
                    warned = True
                    with contextlib.suppress(Warning):  # where warnings are errors
                        warnings.warn(
                            f"The metadata service of {self.cloud} at {self.url} does not answer "
                            f"as it should ({type(error).__name__}: {error}); it is asked again "
                            f"every {self.every_seconds:g} s.",
                            stacklevel=2,
                        )
            self._end.wait(self.every_seconds)


class Notices:
    """All that may tell a training to end: signals, and a cloud.

    Args:
        signals: bool, whether to take note of signals.
        notice: `EvictionNotice`, or `None`.
    """

    def __init__(self, signals, notice):
        self._signals = Signals() if signals else None
        self._parts = [part for part in (self._signals, notice) if part is not None]
        self._notice = notice

    @property
    def any(self):
        """Whether anything may tell it."""
        return bool(self._parts)

    @property
    def takes_signals(self):
        """Whether it takes note of signals."""
        return self._signals is not None

    def start(self, iterator):
        """Begins to listen; to signals, in the `fit` over this `EpochIterator`."""
        if self._signals is not None:
            self._signals.start(iterator)
        if self._notice is not None:
            self._notice.start()

    def stop(self):
        """Listens no more."""
        for part in self._parts:
            part.stop()

    def told(self):
        """`EVICTED`, `INTERRUPTED`, or 0 for neither."""
        received = self._signals.received if self._signals is not None else 0
        if received == signal.SIGINT:
            return INTERRUPTED
        noticed = self._notice is not None and self._notice.received
        # SIGTERM is how schedulers and clouds give notice.
        return EVICTED if received or noticed else 0


class Signals:
    """Takes note of SIGTERM and SIGINT; a second SIGINT acts as it did before.

    Attributes:
        received: number of the first signal that came, or 0.
    """

    def __init__(self):
        self.received = 0
        self._before = {}

    def start(self, iterator):
        """Begins to take note, in the main thread; elsewhere signals are left alone.

        Args:
            iterator: the `EpochIterator` of the `fit` within which they are taken note of.
        """
        self._iterator = weakref.ref(iterator)
        # Ctrl-C in a `fit` that failed before it could save has had its way; an eviction comes yet.
        if self.received == signal.SIGINT or not self._before:
            self.received = 0
        if threading.current_thread() is threading.main_thread() and not self._before:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)

    def stop(self):
        """Puts the handlers back that were there before."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                with contextlib.suppress(TypeError):  # a handler that Python does not know
                    signal.signal(number, handler)
            self._before = {}

    def _note(self, number, frame):
        iterator = self._iterator()
        # A `fit` that failed left its handlers behind: what comes in another is not for it.
        if iterator is None or not is_within(frame, iterator):
            self.stop()
            signal.raise_signal(number)  # os.kill would not ask a handler on Windows
            return
        if self.received == signal.SIGINT == number:
            before = self._before[number]
            self.stop()
            if callable(before):
                before(number, frame)
            return
        self.received = self.received or number


def _aws(url):
    # IMDSv2: nothing is answered without a token, which is good for six hours and cheap to ask for.
    token = _get(
        f"{url}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, "PUT"
    )
    answer = _get(
        f"{url}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}
    )
    return answer is not None and "action" in json.loads(answer)


def _gcp(url):
    answer = _get(f"{url}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return answer is not None and answer.strip() == "TRUE"


def _azure(url):
    answer = _get(f"{url}/metadata/scheduledevents?api-version=2020-07-01", {"Metadata": "true"})
    events = json.loads(answer).get("Events", []) if answer else []
    return any(event.get("EventType") == "Preempt" for event in events)


def _get(url, headers, method="GET"):
    """The answer as text, or `None` where there is nothing (404)."""
    request = urllib.request.Request(url, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
    try:
        with opener.open(request, timeout=2) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            return None
        raise


_SERVICES = {
    "aws": ("http://169.254.169.254", _aws),
    "gcp": ("http://metadata.google.internal", _gcp),
    "azure": ("http://169.254.169.254", _azure),
}
CLOUDS = tuple(_SERVICES)
