"""Python that is watched instruction by instruction."""

import dis
import sys

import keras_dawn
from keras_dawn.native.lowering.harmless import ImpureError
from keras_dawn.native.lowering.watched import Watch

import keras
import numpy as np
import pytest

from tests.processes import Program


def called(found):
    found.append("doubtful")


def calls_first(found):
    called(found)


def watched():
    """Prints what a function has done that was to be stopped before it does anything."""
    instructions = dis.get_instructions(calls_first)
    call = next(one.offset for one in instructions if one.opname == "CALL")
    watch, found = Watch({calls_first.__code__: {call: "a doubt"}}, ImpureError, None), []
    with pytest.raises(ImpureError, match="a doubt"):
        watch.run(calls_first, {"found": found})
    print("done:", found)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no Python before has to be told twice")
def test_the_first_one_in_a_process_is_stopped_too():
    ended = Program(watched).wait()
    assert ended.returncode == 0 and "done: []" in ended.printed, ended.printed


class Remembering(keras.layers.Layer):
    def call(self, inputs):
        CALLS.append(1)
        return 2.0 * inputs


class Outer(keras.Model):
    def __init__(self):
        super().__init__()
        self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), Remembering()])

    def call(self, inputs):
        return self.network(inputs)


CALLS = []


def test_python_in_a_graph_inside_another_model_runs_no_more_often_than_in_plain_keras():
    counts = []
    for native in (True, False):
        model = Outer()
        model.compile("sgd", "mse")
        model.build((None, 3))
        if native:
            keras_dawn.accelerate(model)
        CALLS.clear()
        model.fit(np.ones((6, 3)), np.ones((6, 3)), batch_size=2, verbose=0)
        model.predict(np.ones((6, 3)), verbose=0)
        counts.append(len(CALLS))
    assert counts[0] == counts[1]
    assert sys.getprofile() is None
