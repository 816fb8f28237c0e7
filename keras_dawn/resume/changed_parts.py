"""Which settings of a training's parts, and which of their code, a script has changed."""

import sys

from keras_dawn.resume.setting_words import CODE, change_in_words

_ON = {True: "on", False: "off"}
PYTHON = list(sys.version_info[:2])  # by which bytecode is told apart


def changed_parts(state, now, same):
    """What `describe_parts` returned otherwise in the process before, and whether it was native.

    What the checkpoint puts back is not among it, nor what only one of them has: callbacks that
    are new or left out are said by name, layers and losses are compared as such.

    Args:
        state: dict, the checkpoint.
        now: dict, the description of this process.
        same: `SameCallbacks`.

    Returns:
        list of str.
    """
    before, parts = state["description"], now["parts"]
    then = {same.name_now(path): words for path, words in before.get("parts", {}).items()}
    owners = set(map(_owner, then)) & set(map(_owner, parts))
    put_back, found = _put_back(state), []
    for path in dict.fromkeys([*then, *parts]):
        old, new = then.get(path, "none"), parts.get(path, "none")
        if old == new or _owner(path) not in owners or _is_put_back(path, put_back):
            continue
        of_code = CODE in (old[: len(CODE)], new[: len(CODE)])
        if not (of_code and before.get("python") != now["python"]):
            found.append(change_in_words(path, old, new))
    on = [_ON[each.get("accelerated", now["accelerated"])] for each in (before, now)]
    return found + [f"accelerate {on[0]} → {on[1]}"] * (on[0] != on[1])


def _owner(path):
    return path.partition(".")[0]


def _is_put_back(path, put_back):
    owner, _, setting = path.rpartition(".")
    if owner.startswith(("class ", "function ")):  # of a module, which is several parts' own
        return any(setting in names for names in put_back.values())
    return setting in put_back.get(owner, ())


def _put_back(state):
    """Names of what a checkpoint puts back, by the names of what has it."""
    found = {}
    for parts in (state["parts"], *state["rank_parts"]):
        for name, part in parts.items():
            of = name.removeprefix("attributes of ").removeprefix("settings of ")
            kept = part.get("kept", {}) if isinstance(part, dict) and of != name else part
            if isinstance(kept, dict):
                found.setdefault(of, set()).update(map(str, kept))
    return found
