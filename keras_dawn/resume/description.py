"""What a training is made of, in words, to tell whether the next process trains the same."""

import json
import re

from keras_dawn.convolutions import table_in_use
from keras_dawn.dawnbench.records import hardware
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.sharding import sampler_of
from keras_dawn.foundation import hyperparameters, keras_fit
from keras_dawn.foundation.device import default_device
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_metrics import log_names
from keras_dawn.foundation.model_state import metric_variables, optimizers_of
from keras_dawn.foundation.silence import silenced
from keras_dawn.native.engine import engine_of
from keras_dawn.resume.changed_parts import PYTHON
from keras_dawn.resume.checkpoints import name_of
from keras_dawn.resume.compiled_numbers import numbered, numbers_of
from keras_dawn.resume.data_contents import (
    WEIGHTS,
    changed_arrays,
    changed_contents,
    contents_of_arrays,
    describe_contents,
)
from keras_dawn.resume.data_settings import changed_data_settings, describe_data_settings
from keras_dawn.resume.described_settings import changes, settings, variables_of_optimizers, words
from keras_dawn.resume.planned import changed_plan, describe_plan
from keras_dawn.resume.same_model import check_same_model
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras
import torch

_PLAIN = (bool, int, float, str, type(None))
_OF_PAIR = {"0": "inputs", "1": "targets", "2": "sample weights"}  # of `validation_data=(x, y)`
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
    on_cpu = default_device().type == "cpu"
    size = keras_fit.size_of_data(iterator)
    if size["batch_size"] and sampler_of(keras_fit.data_of(iterator)[1]) is not None:
        size["batch_size"] *= current().world_size  # of all ranks, as with other data
    validation = keras_fit.validation_data(model)
    plan = describe_plan(iterator)
    if plan is not None:  # whose schedules, one a phase, are told by what they do in each epoch
        callbacks = [one for one in callbacks if not isinstance(one, ParameterSchedule)]
    return {
        "variables": [_NUMBERED.sub("", v.path) for v in model.variables],
        "layers": [_layer(layer) for layer in list(all_layers(model))[1:]],
        "optimizers": [type(hyperparameters.unwrap(one)).__name__ for one in optimizers_of(model)],
        "numbers": [_numbers(one) for one in numbered(model)],
        "frozen": [not layer.trainable for layer in all_layers(model)],
        "settings": settings(model, callbacks, epochs, iterator.num_batches),
        "kept": variables_of_optimizers(model),
        "metrics": [_NUMBERED.sub("", v.path) for v in metric_variables(model)],
        "logs": log_names(model),
        "data": size,
        "arrays": contents_of_arrays(iterator),
        "contents": describe_contents(iterator, validation),
        "data_settings": describe_data_settings(iterator, validation),
        "plan": plan,
        "class_weight": words(keras_fit.class_weight(model)),
        "order": order,
        "steps": iterator.num_batches,
        "epochs": epochs,
        # A GPU has its own ways, whatever the table for the processor beside it is.
        "convolutions": table_in_use().identity if on_cpu else None,
        "threads": torch.get_num_threads() if on_cpu else None,
        "made_with": _made_with(),
        "accelerated": engine_of(model) is not None,
        "python": PYTHON,
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
    check_same_model(state, now, folder)
    changed = [
        f"{name} {old} → {new}"
        for name, old, new in [
            ("steps an epoch", then["steps"], now["steps"]),
            *((name, then["data"][name], now["data"].get(name)) for name in then["data"]),
            *_order(state, now),
        ]
        if old != new and name != "content"
    ]
    data = changed_contents(state, now["contents"], "data")
    changed += [f"{name} has other values" for name, *_ in data]
    changed += _weights_and_arrays(then, now)
    epoch = state["epoch"]
    of_plan = changed_plan(then.get("plan"), now["plan"], epoch)
    of_data = changed_data_settings(state, now["data_settings"], "data") + of_plan
    changed += [words for words, decides in of_data if decides]
    if changed and step:
        raise ValueError(
            f"The checkpoint in {folder} is of {_within(epoch, step, then['steps'])}, "
            f"and the data has changed since: {', '.join(changed)}. Go on "
            "with the data that it began with (seeded, if it is drawn) until "
            f"{name_of(state['fit'], epoch + 1, 0)} of the epoch's end is there, and change it "
            "then; or delete the checkpoints of the middle, "
            f"{name_of(state['fit'], epoch, step)} the newest, to go on from the one before them; "
            "or give another folder."
        )
    changed += [words for words, decides in of_data if not decides]
    others = changed_data_settings(state, now["data_settings"], "validation")
    changed += [f"{words}, to validate on" for words, _ in others]
    validation = changed_contents(state, now["contents"], "validation")
    changed += [f"{_OF_PAIR.get(name, name)} to validate on: other values"
                for name, *_ in validation]  # fmt: skip
    # They choose the ways of convolutions and the order of sums: it rounds otherwise, and no more.
    for name, title in (("convolutions", "ways of convolutions"), ("threads", "torch's threads")):
        old, new = then.get(name), now[name]
        if None not in (old, new) and old != new:
            changed.append(f"{title} {old} → {new}")
    made, others = then.get("made_with", now["made_with"]), now["made_with"]
    changed += [f"{name} {made[name]} → {others[name]}" for name in made
                if made[name] != others[name]]  # fmt: skip
    changed += changes(then["settings"], now["settings"])
    rates = [
        (number, name, old[name], new[name])
        for number, (old, new) in enumerate(zip(then["numbers"], now["numbers"], strict=False))
        for name in old
        if name in new and old[name] != new[name]
    ]
    return rates, changed


def _made_with():
    """The device, and the versions of what computes on it."""
    device = default_device()
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else hardware()["processor"]
    return {"device": name, "torch": str(torch.__version__), "Keras": keras.__version__}


def _within(epoch, step, steps):
    if steps and step >= steps:
        return f"the end of epoch {epoch + 1}, after all {steps} steps and before the validation"
    return f"the middle of epoch {epoch + 1}, after {step} of {steps} steps"


def _weights_and_arrays(then, now):
    """Class weights that are others, and arrays: `fit` makes weights of images of the former."""
    old, new = then.get("class_weight"), now["class_weight"]
    weights = old != new and "class_weight" in then
    arrays = changed_arrays(then, now)
    if weights:
        arrays = [name for name in arrays if name != WEIGHTS]
    values = [f"other values in the arrays ({', '.join(arrays)})"] if arrays else []
    return values + [f"class_weight {old} → {new}"] * weights


def _order(state, now):
    """The order of the data, which `check_order` looks at where the number of ranks is another."""
    same = len(state["data"]) == current().world_size
    return [("order", state["description"]["order"], now["order"])] if same else []


def _layer(layer):
    """`[class, name, settings]`, settings as far as they are plain."""
    try:
        with silenced():  # of a lambda, which nobody stores here
            config = layer.get_config()
    except Exception:  # a layer of the user's own need not have one
        config = {}
    plain = {key: value for key, value in _plain(config).items() if key != "name"}
    name = _NUMBERED.sub("", layer.name)
    return [type(layer).__name__, name, json.dumps(plain, sort_keys=True)]


def _plain(value):
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        return "a lambda"  # with the line that it is on; `own_settings` tells its code
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
    # A model that was trained before this `fit` may hold the rate that a schedule left there.
    return {} if int(inner.iterations) else numbers_of(inner)
