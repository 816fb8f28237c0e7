"""Python that is watched instruction by instruction."""

import dis
import sys

from keras_dawn.native.lowering.harmless import ImpureError
from keras_dawn.native.lowering.watched import Watch

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
