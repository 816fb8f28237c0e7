"""Runs Python up to the first instruction that must not run."""

import inspect
import itertools
import pathlib
import re
import sys
import textwrap
import traceback

import keras
import numpy as np
import torch

_UNCHANGEABLE = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))
_DTYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "bfloat16", "float32", "float64",
}  # fmt: skip


class _Stop(BaseException):
    """No `Exception`: few on the way catch it and try again, unwatched."""


class Watch:
    """Calls a function, and stops before it or one that it calls runs a doubtful instruction.

    What else they do is done: an `if` whose branch has such an instruction may be passed.

    Args:
        doubts: dict from code objects to a dict from the offsets of instructions to what is wrong
            with them: a string, or a function of the frame and this that says so, or `None`.
        error: class of the exception, made with the reason.
        node_code: code object of the function that notes a call of Keras's.

    Attributes:
        changed: symbolic tensors that an operator was to change in place.
        nodes: Keras's nodes of all calls, also of those whose results nobody used.
        keeps: bool, whether a size that is not known, or a dtype, may be compared.
    """

    def __init__(self, doubts, error, node_code):
        self._doubts, self._error, self._node_code = doubts, error, node_code
        self._reason = None
        self._goes_on = False
        self._noted = []  # (tensor, how often it had been changed when a call with it was noted)
        self.changed, self.nodes = [], []
        self.keeps = False

    def run(self, function, arguments):
        """What the function returns for arguments by name."""
        if not self._doubts:
            return function(**arguments)
        before = sys.gettrace()  # of a debugger, or of who counts what tests reach
        self._trace()
        try:
            outputs = function(**arguments)
            self.check()  # somebody may have caught it
        except _Stop:
            raise self._error(self._reason) from None
        finally:
            if self._goes_on:
                self._goes_on = False
                sys.setprofile(None)
            sys.settrace(before)
        if any(tensor._version != version for tensor, version in self._noted):
            raise self._error("it changes a tensor in place after a call with it")
        return outputs

    def note(self, arguments):
        """Remembers the tensors in what is called with, which must not change afterwards."""
        parts = keras.tree.flatten(arguments)
        self._noted += [(x, x._version) for x in parts if isinstance(x, torch.Tensor)]

    def check(self):
        """Stops again where it was stopped: Keras tries shape inference twice."""
        if self._reason is not None:
            raise _Stop

    def _trace(self):
        # Python 3.12 tells of single instructions only where a frame had asked for it before
        # `settrace`: else nothing would be stopped the first time in a process.
        here = inspect.currentframe()
        here.f_trace_opcodes = True
        sys.settrace(self._call)
        here.f_trace_opcodes = False
        del here  # a frame that knows itself is garbage to be collected

    def _go_on(self):
        """Keeps watching after a stop, which ends what `settrace` began.

        Keras tries shape inference of layers further inside twice, too.
        """
        if sys.getprofile() is None:
            self._goes_on = True
            sys.setprofile(self._again)

    def _again(self, frame, event, _):
        if event == "call" and sys.gettrace() is None:
            self._trace()

    def _call(self, frame, event, _):
        if frame.f_code is self._node_code:
            self.nodes.append(frame.f_locals["self"])
            self.note([frame.f_locals["call_args"], frame.f_locals["call_kwargs"]])
        if frame.f_code not in self._doubts:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._instruction

    def _instruction(self, frame, event, _):
        if event == "opcode":
            reason = self._doubts[frame.f_code].get(frame.f_lasti)
            if callable(reason):
                reason = reason(frame, self)
            if reason is not None:
                lines = itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
                self._reason = f"{reason} ({place(frame.f_code, next(lines)[0])})"
                self._go_on()
                raise _Stop
        return self._instruction


def place(code, line):
    """Where a line of Python is, for a message."""
    return f"{pathlib.Path(code.co_filename).name}, line {line or code.co_firstlineno}"


def said_by(error):
    """What an error says, in one line and without what Keras and terminals add to it."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras prints some of it in bold
    said = said.partition("Arguments received by ")[0]
    said = re.sub(r"Exception encountered when calling [^\n]*\n", "", said)
    return textwrap.shorten(said, 200, placeholder=" …")


def place_of_error(error):
    """Where the user's Python raised an error, or called what did: ` (file, line)`, or nothing."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("keras", "keras_dawn", "torch", "optree"):
            found = f" ({place(frame.f_code, line)})"
    return found


def changes(name):
    """What is wrong with `name += …`, as a function for a `Watch`: it depends on what that is."""

    def wrong(frame, watch):
        value = frame.f_locals.get(name)
        if isinstance(value, keras.KerasTensor):
            watch.changed.append(value)
        elif not isinstance(value, (*_UNCHANGEABLE, list, torch.Tensor)):
            return f"{name} is changed in place"
        return None

    return wrong


def writes(frame, watch):
    """Nothing is wrong with `container[key] = …`, as long as no call has been noted with it."""


def keeps(frame, watch):
    """Nothing is wrong with a size or a dtype that Python keeps, as long as it compares nothing."""
    watch.keeps = True


def compares(frame, watch):
    """What is wrong with a comparison: symbolic tensors have other dtypes than real ones."""
    if watch.keeps or any(map(_is_dtype, frame.f_locals.values())):
        return "a comparison beside shapes or dtypes"
    return None


def spells(name):
    """What is wrong with text that is made of a name: symbolic tensors have other dtypes and sizes.

    Returns:
        Function for a `Watch`.
    """

    def wrong(frame, watch):
        value = frame.f_locals.get(name)
        if type(value) in (bool, int, float, str) and not _is_dtype(value):
            return None
        return f"text made of {name}"

    return wrong


def names(parts, check):
    """What is wrong with an attribute whose name is made of local names, as they are then.

    Args:
        parts: as `bytecode.text` returns them.
        check: function of the name that returns what is wrong with the attribute, or `None`.

    Returns:
        Function for a `Watch`.
    """

    def wrong(frame, watch):
        values = [frame.f_locals.get(part) if is_local else part for is_local, part in parts]
        if not all(type(value) in (int, str) for value in values):
            return "getattr of a name that is made of more than texts and whole numbers"
        return check("".join(map(str, values)))

    return wrong


def asks_kind(name, lists, floats):
    """What is wrong with asking for the kind of a value, as a function for a `Watch`.

    A layer may return a list where its symbolic outputs are a tuple, and the other way round; an
    argument that is a number of NumPy's is a tensor in Keras's call.

    Args:
        name: str, of the local value.
        lists: bool, whether lists and tuples are told apart.
        floats: bool, whether it is asked for floats.
    """

    def wrong(frame, watch):
        value = frame.f_locals.get(name)
        if lists and isinstance(value, (list, tuple)):
            return f"whether {name} is a list or a tuple"
        return f"whether {name} is a float" if floats and isinstance(value, np.float64) else None

    return wrong


def _is_dtype(value):
    return isinstance(value, torch.dtype) or (isinstance(value, str) and value in _DTYPES)
