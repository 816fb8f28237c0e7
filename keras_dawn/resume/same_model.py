"""Whether a checkpoint is of the model that is to be trained: its layers, weights, optimizers."""

import json
from collections import Counter

from keras_dawn.resume.described_settings import changes

_PARTS = ("optimizers", "layers", "variables", "metrics")
_RENAMED = ("variables", "layers")  # which may have other names


def check_same_model(state, now, folder):
    """Raises `ValueError` where the model, or what its optimizers keep, is another one.

    Names alone make no other model: one that was loaded from a file names its weights otherwise.

    Args:
        state: dict, the checkpoint.
        now: what `describe` returned in this process.
        folder: path of the checkpoints.
    """
    then = state["description"]
    for what in _PARTS:
        old, new = then[what], now[what]
        if not (_alike(old, new) if what in _RENAMED else old == new):
            raise ValueError(
                f"The checkpoint in {folder} is of another model: {_difference(what, old, new)}. "
                "Train that model, or give another folder."
            )
    if now["frozen"] not in (then.get("frozen", now["frozen"]), state["frozen"]):
        # Optimizers are built for the others.
        frozen = (_frozen(each, now["layers"]) for each in (then["frozen"], now["frozen"]))
        raise ValueError(
            f"The checkpoint in {folder} is of a training with other frozen layers: "
            f"{' → '.join(frozen)}. Freeze those that it began with; freeze others in another "
            "`fit`, or give another folder."
        )
    for number, (old, new) in enumerate(zip(then["kept"], now["kept"], strict=True)):
        if None not in (old, new) and old != new:
            what = [
                f"{name} {before} → {now['numbers'][number].get(name)}"
                for name, before in then["numbers"][number].items()
                if name != "learning_rate" and before != now["numbers"][number].get(name, before)
            ]
            what += changes(then["settings"], now["settings"])
            raise ValueError(
                f"The checkpoint in {folder} is of an optimizer, {then['optimizers'][number]}, "
                f"that keeps {len(old)} variables, this one keeps {len(new)}: "
                f"{', '.join(what) or 'it trains other weights, or is set otherwise'}. "
                "Compile with the settings that the training began with, or give another folder."
            )


def other_names(then, now):
    """What is to be said of a model that is the same, but for its names; `None` of none.

    Args:
        then, now: what `describe` returned, in the process before and in this one.
    """
    pairs = list(zip(then["variables"], now["variables"], strict=True))
    pairs += [(old[1], new[1]) for old, new in zip(then["layers"], now["layers"], strict=True)]
    others = [f"{old} → {new}" for old, new in pairs if old != new]
    if not others:
        return None
    more = f" and {len(others) - 2} more" if len(others) > 2 else ""
    return (
        f"names are others in this model ({', '.join(others[:2])}{more}), layers and shapes of "
        "weights are not: each weight goes on as the one in its place"
    )


def other_logs(then, now):
    """Names in the logs that losses and metrics have now, by those that they had: a dict.

    Keras counts metrics and layers through: in a notebook, `AUC()` of a cell that is run again is
    `auc_1`.

    Args:
        then, now: what `describe` returned, in the process before and in this one.
    """
    pairs = zip(then.get("logs", ()), now["logs"], strict=False)
    return {old: new for old, new in pairs if old != new}


def _alike(old, new):
    """Whether parts are the same but for their names, none of which stands in another's place."""
    if len(old) != len(new):
        return False
    names = [list(map(_name, parts)) for parts in (old, new)]
    pairs = [pair for pair in zip(*names, strict=True) if pair[0] != pair[1]]
    moved = any(before in names[1] or after in names[0] for before, after in pairs)
    return not moved and list(map(_sort, old)) == list(map(_sort, new))


def _name(part):
    return part if isinstance(part, str) else part[1]


def _sort(part):
    """What has to be the same beside the name: of a layer its class and its settings."""
    return None if isinstance(part, str) else (part[0], part[2])


def _difference(what, old, new):
    if len(old) != len(new):
        return f"{what} {len(old)} → {len(new)}, {_new_and_gone(old, new)}"
    pairs = list(zip(old, new, strict=True))
    # Of layers the class first, then a setting, then the name.
    for differs in (lambda a, b: a[0] != b[0], lambda a, b: a[2] != b[2]):
        found = [pair for pair in pairs if what == "layers" and differs(*pair)]
        if found:
            break
    before, after = (found or [pair for pair in pairs if pair[0] != pair[1]])[0]
    if what != "layers" or before[0] != after[0] or before[2] == after[2]:
        before, after = (each if isinstance(each, str) else " ".join(each[:2])
                         for each in (before, after))  # fmt: skip
        return f"{what} {before} → {after}"
    settings = json.loads(before[2]), json.loads(after[2])
    names = {**settings[0], **settings[1]}
    name = next(n for n in names if n not in settings[1] or settings[0].get(n) != settings[1][n])
    values = (each.get(name, "left out") for each in settings)
    return f"{name} of layer {before[1]} {' → '.join(_short(*values))}"


def _short(old, new):
    """Two settings in words: of objects of Keras's, their classes and in what they differ."""
    if not all(isinstance(each, dict) and "class_name" in each for each in (old, new)):
        return str(old), str(new)
    kinds, configs = zip(*((each["class_name"], each.get("config") or {}) for each in (old, new)),
                         strict=True)  # fmt: skip
    names = [name for name in {**configs[0], **configs[1]}
             if configs[0].get(name) != configs[1].get(name)]  # fmt: skip
    if names == ["name"]:  # of dtypes' policies
        return str(configs[0]["name"]), str(configs[1]["name"])
    if kinds[0] != kinds[1]:
        return kinds
    settings = (", ".join(f"{name}={each.get(name)}" for name in names) for each in configs)
    return tuple(f"{kinds[0]}({each})" for each in settings)


def _new_and_gone(old, new):
    counts = [Counter(each if isinstance(each, str) else " ".join(each[:2]) for each in names)
              for names in (old, new)]  # fmt: skip
    differ = {"new": counts[1] - counts[0], "gone": counts[0] - counts[1]}
    return " and ".join(
        f"{what}: {', '.join(list(names.elements())[:6])}" + (", …" if names.total() > 6 else "")
        for what, names in differ.items()
        if names
    )


def _frozen(frozen, layers):
    """Names of layers, the first entry of `frozen` being the model's own."""
    names = [name for (_, name, _), each in zip(layers, frozen[1:], strict=True) if each]
    return " and ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "") or "none"
