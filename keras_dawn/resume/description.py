"""What a training is made of, in words, to tell whether the next process trains the same."""

import json
import re

from keras_dawn.convolutions import table_in_use
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.sharding import sampler_of
from keras_dawn.foundation import hyperparameters, keras_fit
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.resume.data_contents import changed_contents, describe_contents
from keras_dawn.resume.described_settings import (
    changes,
    content,
    settings,
    variables_of_optimizers,
)
from keras_dawn.resume.training_state import metric_variables

_PLAIN = (bool, int, float, str, type(None))
_CHANGES = ("trainable", "synchronized")  # of layers, without making another model of it
_NUMBERED = re.compile(r"_\d+(?=/|$)")  # Keras counts the layers of a process through


def describe(model, iterator, order, callbacks=(), epochs=1):
    """A dict of plain values: model, optimizers with their numbers, metrics, data.

    Args:
        model: compiled `keras.Model`, as the training begins.
        iterator: the `EpochIterator` of its `fit`.
        order: str, in which order the data is served (`DataOrder.name`).
        callbacks: list of the callbacks beside `ResumeTraining`.
        epochs: int, of the `fit`.
    """
    size = {**keras_fit.size_of_data(iterator), "content": content(iterator)}
    if size["batch_size"] and sampler_of(keras_fit.data_of(iterator)[1]) is not None:
        size["batch_size"] *= current().world_size  # of all ranks, as with other data
    return {
        "variables": [_NUMBERED.sub("", v.path) for v in model.variables],
        "layers": [_layer(layer) for layer in list(all_layers(model))[1:]],
        "optimizers": [type(hyperparameters.unwrap(one)).__name__ for one in optimizers_of(model)],
        "numbers": [_numbers(one) for one in optimizers_of(model)],
        "settings": settings(model, callbacks, epochs, iterator.num_batches),
        "kept": variables_of_optimizers(model),
        "metrics": [_NUMBERED.sub("", v.path) for v in metric_variables(model)],
        "data": size,
        "contents": describe_contents(iterator, keras_fit.validation_data(model)),
        "order": order,
        "steps": iterator.num_batches,
        "epochs": epochs,
        "convolutions": table_in_use().identity,
    }


def check_same(state, now, folder, step):
    """Raises `ValueError` where what is trained is no longer what the checkpoint is of.

    Args:
        state: dict, the checkpoint.
        now: what `describe` returned in this process.
        folder: path of the checkpoints.
        step: int, how many steps of the epoch to go on in are done.

    Returns:
        list of `(optimizer's number, name, old, new)` of hyper-parameters that were compiled
        otherwise than then, and list of str about what else is taken up.
    """
    then = state["description"]
    for what in ("optimizers", "variables", "layers", "metrics"):
        old, new = then[what], now[what]
        if old != new:
            raise ValueError(
                f"The checkpoint in {folder} is of another model: {_difference(what, old, new)}. "
                "Train that model, or give another folder."
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
                f"The checkpoint in {folder} is of a {then['optimizers'][number]} that keeps "
                f"{len(old)} variables, this one keeps {len(new)}: {', '.join(what) or '?'}. "
                "Compile with the settings that the training began with, or give another folder."
            )
    changed = [
        f"{name} {old} → {new}" if name != "content" else "other values in the arrays"
        for name, old, new in [
            ("steps an epoch", then["steps"], now["steps"]),
            *((name, then["data"][name], now["data"][name]) for name in then["data"]),
            *_order(state, now),
            *changed_contents(state, now["contents"], "data"),
        ]
        if old != new and not (name == "content" and None in (old, new))
    ]
    epoch = state["epoch"]
    if changed and step:
        raise ValueError(
            f"The checkpoint in {folder} is of the middle of epoch {epoch + 1}, after {step} of "
            f"{then['steps']} steps, and the data has changed since: {', '.join(changed)}. Go on "
            "with the data that it began with (seeded, if it is drawn) until "
            f"checkpoint-*{epoch + 1:05}-0000000.pt of the epoch's end is there, and change it "
            "then; or delete the checkpoints of the middle, "
            f"checkpoint-*{epoch:05}-{step:07}.pt the newest, to go on from the one before them; "
            "or give another folder."
        )
    validation = changed_contents(state, now["contents"], "validation")
    changed += [f"{name} to validate on {old} → {new}" for name, old, new in validation]
    tables = then.get("convolutions"), now["convolutions"]
    if None not in tables and tables[0] != tables[1]:  # other ways round otherwise, and no more
        changed.append(f"ways of convolutions {tables[0]} → {tables[1]}")
    changed += changes(then["settings"], now["settings"])
    rates = [
        (number, name, old[name], new[name])
        for number, (old, new) in enumerate(zip(then["numbers"], now["numbers"], strict=True))
        for name in old
        if name in new and old[name] != new[name]
    ]
    return rates, changed


def _order(state, now):
    """The order of the data, which `check_order` looks at where the number of ranks is another."""
    same = len(state["data"]) == current().world_size
    return [("order", state["description"]["order"], now["order"])] if same else []


def _difference(what, old, new):
    if len(old) != len(new):
        return f"{what} {_listed(old)} → {_listed(new)}"
    place = next(
        place for place, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]
    )
    before, after = old[place], new[place]
    if what != "layers" or before[:2] != after[:2]:
        before, after = (each if isinstance(each, str) else " ".join(each[:2])
                         for each in (before, after))  # fmt: skip
        # Of layers the class and the name; equal ones differ in a setting, which is looked for
        # below.
        return f"{what} {before} → {after}"
    settings = json.loads(before[2]), json.loads(after[2])
    name = next(
        key for key in settings[0] if settings[0][key] != settings[1].get(key, "left out")
    )  # fmt: skip
    return f"{name} of layer {before[1]} {settings[0][name]} → {settings[1].get(name, 'left out')}"


def _listed(names):
    if names and not isinstance(names[0], str):
        names = [" ".join(each[:2]) for each in names]
    return f"{len(names)} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"


def _layer(layer):
    """`[class, name, settings]`, settings as far as they are plain."""
    try:
        config = layer.get_config()
    except Exception:  # a layer of the user's own need not have one
        config = {}
    plain = {key: value for key, value in _plain(config).items() if key != "name"}
    name = _NUMBERED.sub("", layer.name)
    return [type(layer).__name__, name, json.dumps(plain, sort_keys=True)]


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items() if key not in _CHANGES}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, str) and len(value) <= 200:  # longer ones hold weights
        return _NUMBERED.sub("", value)
    if isinstance(value, str):
        return "…"
    return value if isinstance(value, _PLAIN) else type(value).__name__


def _numbers(optimizer):
    """The hyper-parameters as compiled, by name; none where training may have moved them."""
    inner = hyperparameters.unwrap(optimizer)
    found = {}
    # A model that was trained before this `fit` may hold the rate that a schedule left there.
    if int(inner.iterations):
        return found
    for name in hyperparameters.available(inner):
        value = getattr(inner, name)
        found[name] = None if value is None else float(value)
    return found
