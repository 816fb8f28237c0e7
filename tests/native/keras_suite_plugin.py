"""The pytest plugin under which Keras's tests run: `-p tests.native.keras_suite_plugin`.

Writes one line of JSON for each test's beginning and one for its end, so that a process that
dies says in which test it died, and its successor goes on behind it.
"""

import faulthandler
import json
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.native import keras_suite_imports

_LONGEST_TEXT = 6000
_SEED = 1


def pytest_addoption(parser):
    group = parser.getgroup("keras_suite")
    group.addoption("--suite-results", help="file of JSON lines to go on with")
    group.addoption("--suite-accelerated", action="store_true", help="accelerate what is compiled")
    group.addoption("--suite-only", help="JSON file: ids of the tests to run")
    group.addoption("--suite-limit", type=float, default=60.0, help="seconds for one test")


def pytest_configure(config):
    for marker in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{marker}: of Keras's own conftest")
    keras_suite_imports.install()
    seed = np.random.seed  # Keras's helpers call seed(None): other numbers in every run
    np.random.seed = lambda number=None: seed(_SEED if number is None else number)
    config.pluginmanager.register(_Recorder(config), "keras_suite_recorder")


class _Recorder:
    def __init__(self, config):
        from tests.native.keras_suite_watch import Watch

        self._results = Path(config.getoption("--suite-results"))
        only = config.getoption("--suite-only")
        self._only = (
            None if only is None else set(json.loads(Path(only).read_text(encoding="utf-8")))
        )
        self._limit = config.getoption("--suite-limit")
        self._watch = Watch(config.getoption("--suite-accelerated"))
        self._outcome = None

    def pytest_collection_modifyitems(self, config, items):
        done = {line["id"] for line in read_lines(self._results) if "id" in line}
        for item in items:
            if "multi_device" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs several devices"))
        wanted = [
            item
            for item in items
            if _name(item) not in done and (self._only is None or _name(item) in self._only)
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = wanted

    def pytest_collectreport(self, report):
        if report.failed:
            self._write(not_collected=report.nodeid, error=_last_line(report))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self._write(id=_name(item), begins=True)
        self._outcome = {"outcome": "passed", "error": None, "text": None}
        self._watch.begin()
        _fresh_state()
        begin = time.monotonic()
        faulthandler.dump_traceback_later(
            2 * self._limit, exit=True, file=sys.__stderr__
        )  # stuck in C
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._write(
                id=_name(item),
                **self._outcome,
                seconds=round(time.monotonic() - begin, 2),
                compiled=self._watch.compiled,
                calls=self._watch.calls,
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        def stop(*_):
            raise TimeoutError(f"longer than {self._limit:g} s")

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, self._limit, 5.0)  # again if it was swallowed
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)

    def pytest_runtest_logreport(self, report):
        if report.failed and self._outcome["outcome"] != "failed":
            text = str(report.longrepr)[-_LONGEST_TEXT:]
            self._outcome = {"outcome": "failed", "error": _last_line(report), "text": text}
        elif report.skipped and self._outcome["outcome"] == "passed":
            self._outcome["outcome"] = "skipped"

    def pytest_sessionfinish(self, session):
        self._write(finished=True)

    def _write(self, **line):
        with open(self._results, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_lines(path):
    """The lines of a file of JSON lines; none if there is no file."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.exists()
        else []
    )


def _name(item):
    """A test's id without addresses of objects, which are others in every process."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", item.nodeid)


def _fresh_state():
    """Every test begins with the same random numbers and settings, whatever ran before it."""
    import keras

    keras.utils.set_random_seed(_SEED)
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _last_line(report):
    """The line that names the error, and where it was raised."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(report.longrepr if crash is None else crash.message)
    lines = [line.removeprefix("E ").strip() for line in message.splitlines()]
    named = [
        line for line in lines if re.match(r"[\w.]*(Error|Exception|Failed|Interrupted)\b", line)
    ]
    line = (named or [line for line in lines if line] or [""])[0]
    if line.endswith(":"):  # numpy's say more in the lines below
        line = " ".join([line, *[more for more in lines[lines.index(line) + 1 :] if more][:4]])
    where = "" if crash is None else f" ({'/'.join(Path(crash.path).parts[-3:])}:{crash.lineno})"
    return line + where
