"""Whether what a file holds is a checkpoint that a training can go on from."""

from keras_dawn.resume.checkpoint_file import NotWholeError
from keras_dawn.resume.training_state import FORMAT

import torch

_KINDS = {
    "fit": int,
    "epoch": int,
    "step": int,
    "stopped": bool,
    "complete": bool,
    "stopping": bool,
    "variables": list,
    "frozen": list,
    "frozen_variables": list,
    "statistics": list,
    "optimizers": list,
    "gradients": dict,
    "metrics": list,
    "parts": dict,
    "rank_parts": list,
    "data": list,
    "description": dict,
    "history_epochs": list,
    "history": dict,
}
_BY_RANK = ("statistics", "metrics", "rank_parts", "data")
_OF_OPTIMIZERS = {"built_for", "variables", "hyperparameters"}


def check_content(state, place):
    """Checks that everything is there: a right hash says only that a file is as it was written.

    What is of another format is left to `check_format`.

    Args:
        state: dict, what the file holds.
        place: `(fit, epoch, step)` by the file's name.

    Raises:
        NotWholeError: what is amiss.
    """
    if state["format"] != FORMAT:
        return
    for name, kind in _KINDS.items():
        if type(state.get(name)) is not kind:
            found = type(state[name]).__name__ if name in state else "nothing"
            _refuse(f"a {kind.__name__} is expected as its {name!r}, there is {found}")
    found = state["fit"], state["epoch"], state["step"]
    if found != place:
        _refuse(f"by its name it is of (fit, epoch, step) {place}, by its content of {found}")
    tensors = [*state["variables"], *(each for name in _BY_RANK[:2] for each in _flat(state[name]))]
    if not all(isinstance(each, torch.Tensor) for each in tensors):
        _refuse("its weights are no tensors")
    names = state["description"].get("variables")
    if not isinstance(names, list) or len(names) != len(state["variables"]):
        _refuse("it has not as many weights as names of weights")
    if len({len(state[name]) for name in _BY_RANK}) != 1 or not state["data"]:
        _refuse("it is of no one number of ranks")
    if not all(isinstance(each, dict) for name in _BY_RANK[2:] for each in state[name]):
        _refuse("its ranks' states are no dicts")
    for optimizer in state["optimizers"]:
        if not isinstance(optimizer, dict) or not set(optimizer) >= _OF_OPTIMIZERS:
            _refuse("a part of an optimizer's state is missing")


def _flat(lists):
    return [part for each in lists for part in (each if isinstance(each, list) else [each])]


def _refuse(what):
    raise NotWholeError(f"is refused: it is no whole checkpoint ({what})")
