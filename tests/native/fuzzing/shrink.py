"""Makes a failing program smaller as long as it still fails."""

import ast
import dataclasses
import re
import time

from tests.native.fuzzing.cases import judge


def shrunk(case, seconds):
    """The smallest failing `Case` found in some seconds; the case itself if there is none."""
    end = time.time() + seconds
    kind = case.found[0].kind()
    smaller = True
    while smaller and time.time() < end:
        smaller = False
        for program in _smaller(case.program):
            if time.time() > end:
                break
            trial = _judged(program)
            if trial is not None and trial.found and trial.found[0].kind() == kind:
                case, smaller = trial, True
                break
    return case


def _judged(program):
    try:
        return judge(program)
    except Exception:
        return None


def _smaller(program):
    """Programs with one thing less, the largest things first."""
    for name in ("calls", "first", "prelude"):
        parts = getattr(program, name)
        for number in reversed(range(len(parts))):
            rest = parts[:number] + parts[number + 1 :]
            yield dataclasses.replace(program, **{name: rest})
    for number in reversed(range(len(program.nodes))):
        without = _without(program, number)
        if without is not None:
            yield without
    for name in ("compile", "calls"):
        parts = getattr(program, name)
        for number, statement in enumerate(parts):
            for simpler in _simpler(statement):
                rest = (*parts[:number], simpler, *parts[number + 1 :])
                yield dataclasses.replace(program, **{name: rest})
    for number, node in enumerate(program.nodes):
        for make in _simpler(node.make or ""):
            nodes = list(program.nodes)
            nodes[number] = dataclasses.replace(node, make=make)
            yield dataclasses.replace(program, nodes=tuple(nodes))


def _without(program, number):
    """The program without one node, whose first input stands in for it."""
    gone = program.nodes[number]
    if gone.target in program.outputs or not gone.inputs:
        return None
    nodes = []
    for node in program.nodes[:number] + program.nodes[number + 1 :]:
        inputs = tuple(gone.inputs[0] if name == gone.target else name for name in node.inputs)
        call = _renamed(node.call, gone.target, gone.inputs[0])
        nodes.append(dataclasses.replace(node, call=call, inputs=inputs))
    return dataclasses.replace(program, nodes=tuple(nodes))


def _simpler(statement):
    """A call with one keyword less, or with a simpler optimizer."""
    for number, keyword in enumerate(_keywords(statement)):
        if keyword in ("name", "verbose", "batch_size", "loss"):
            continue
        tree = ast.parse(statement)
        keywords = tree.body[0].value.keywords
        if keyword == "optimizer":
            if isinstance(keywords[number].value, ast.Constant):
                continue
            keywords[number].value = ast.Constant("sgd")
        else:
            del keywords[number]
        yield ast.unparse(tree)


def _keywords(statement):
    body = ast.parse(statement).body
    value = getattr(body[0], "value", None) if body else None
    return [keyword.arg for keyword in value.keywords] if isinstance(value, ast.Call) else []


def _renamed(source, old, new):
    return re.sub(rf"\b{old}\b", new, source)
