"""A clock that moves only when told."""

from keras_dawn.dawnbench import clock as clock_module

import pytest


class FakeTime:
    """What the training clocks take for the time."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(clock_module.time, "perf_counter", lambda: self.now)

    def pass_(self, seconds):
        self.now += seconds

    def state_dict(self):
        return {}  # time is no state of a training: no restart puts it back

    def load_state_dict(self, state):
        pass


@pytest.fixture
def fake_time(monkeypatch):
    return FakeTime(monkeypatch)
