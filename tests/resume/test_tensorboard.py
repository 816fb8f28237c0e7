"""TensorBoard's steps go on where they were; TensorFlow, to which it writes, is stood in for."""

import contextlib

import keras
import pytest

from tests.resume.lives import X, Y, life


class Summary:
    """`tensorflow.summary` as far as the callback uses it: scalars by name and step."""

    def __init__(self):
        self.written = {}

    def create_file_writer(self, folder):
        return Writer()

    def scalar(self, name, value, step):
        self.written[name, int(step)] = float(value)

    def record_if(self, condition):
        return contextlib.nullcontext()

    def state_dict(self):
        return {}  # a library is this process's

    def load_state_dict(self, state):
        pass


class Writer:
    def as_default(self, step=None):
        return contextlib.nullcontext()

    def flush(self):
        pass

    close = flush


@pytest.mark.parametrize("cuts", [(8, 4), (10,), (15,)])
def test_every_step_is_written_under_its_number(cuts, tmp_path):
    def written(folder, cut=None):
        board = keras.callbacks.TensorBoard(folder, update_freq=1, write_graph=False)
        board._summary_module = summary = Summary()
        validation = X[:16], Y[:16]
        life(folder, data=lambda: (X, Y), callbacks=[board], cut=cut, validation_data=validation)
        return summary.written

    whole, found = written(tmp_path / "whole"), {}
    for cut in (*cuts, None):
        last = written(tmp_path / "cut", cut)
        found |= last
    assert found == whole and len(last) < len(whole)
    assert {step for name, step in whole if name == "batch_loss"} == set(range(1, 21))
