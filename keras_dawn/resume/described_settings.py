"""What a script compiled and scheduled a training with, in words: named where it has changed."""

import contextlib
import json

from keras_dawn.foundation.hyperparameters import available, config, unwrap
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_losses import compiled_loss
from keras_dawn.foundation.keras_optimizers import uses_weight_decay, variables_of
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.resume.compiled_numbers import numbered
from keras_dawn.resume.names import unnumbered
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras
import numpy as np

_PLAIN = (bool, int, float, str, type(None))


def settings(model, callbacks, epochs, steps):
    """The settings of optimizers, loss, batch normalisation and schedules as `{name: words}`.

    Hyper-parameters that are numbers are not among them, as training moves them.

    Args:
        model: compiled `keras.Model`, as the training begins.
        callbacks: list of the callbacks beside `ResumeTraining`.
        epochs, steps: int, how long the training is; `steps` may be `None`.
    """
    loss, weights = compiled_loss(model)
    found = {"loss": words(loss), "loss_weights": words(weights)}
    normalisations = [one for one in all_layers(model) if hasattr(one, "synchronized")]
    if normalisations:
        together = sum(bool(one.synchronized) for one in normalisations)
        found["synchronized batch normalisations"] = f"{together} of {len(normalisations)}"
    for number, optimizer in enumerate(numbered(model)):
        of = f" of optimizer {number + 1}" if number else ""
        found[f"loss scaling{of}"] = words(unwrap(optimizer) is not optimizer)
        inner = unwrap(optimizer)
        left_out = {"name", *available(inner)}
        for name, value in config(inner).items():
            if name == "optimizer_map":  # whose optimizers are among these
                value = _patterns(value)
            if name not in left_out or isinstance(value, dict):  # a schedule
                found[f"{name}{of}"] = words(value)
        if getattr(inner, "weight_decay", None) is not None:
            weights = [v for v in model.trainable_variables if not uses_weight_decay(inner, v)]
            found[f"weights without decay{of}"] = words([unnumbered(v.path) for v in weights])
    for callback in callbacks:
        if isinstance(callback, ParameterSchedule) and steps:
            epochs_of_its = len(callback.epochs) if callback.epochs is not None else epochs
            curves = callback.curves(max(1, epochs_of_its * steps), model.optimizer)
            for name, curve in curves.items():
                ends = [f"{curve(progress):.4g}" for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
                highest = max(curve(percent / 100) for percent in range(101))
                whole, own = "the training", callback.epochs
                if own is not None:  # there may be others of the class, for other epochs
                    whole = f"epochs {own.start + 1}–{own.stop}"
                of_its = f" in {whole}" if own is not None else ""
                found[f"{name} by {type(callback).__name__}{of_its}"] = (
                    f"{', '.join(ends)} at 0, 25, 50, 75, 100 % of {whole} (highest {highest:.4g})"
                )
    return found


def _patterns(written):
    """Of which weights a `MultiOptimizer` has which optimizer, as it is written down."""
    found = written.get("config") if isinstance(written, dict) else None
    patterns = found.get("optimizer_map") if isinstance(found, dict) else None
    return list(patterns) if isinstance(patterns, dict) else "a function"


def variables_of_optimizers(model):
    """The shapes of what each optimizer keeps, `None` for one that is not built yet."""
    return [
        [list(v.shape) for v in variables_of(one)] if one.built else None
        for one in optimizers_of(model)
    ]


def changes(then, now):
    """What differs between what `settings` returned, as list of str."""
    return [
        _change(name, then.get(name, "none"), now.get(name, "none"))
        for name in [*then, *(name for name in now if name not in then)]
        if then.get(name, "none") != now.get(name, "none")
    ]


def _change(name, old, new):
    """One that differs; of two objects of a class, the settings that do."""
    (kind, then), (other, now) = map(_object_in, (old, new))
    if kind != other or kind is None:
        return f"{name} {_short(kind, then) or old} → {_short(other, now) or new}"
    return ", ".join(
        f"{setting} of {name} ({kind}) {json.dumps(then.get(setting))} → "
        f"{json.dumps(now.get(setting))}"
        for setting in {**then, **now}
        if then.get(setting) != now.get(setting)
    )


def _object_in(text):
    """`(class, settings)` of an object of Keras's in the words of `words`, else `(None, {})`."""
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict) and len(value) == 1:
            ((kind, its),) = value.items()
            if isinstance(its, dict):
                return kind, its
    return None, {}


def _short(kind, its):
    if kind is None:
        return None
    given = [f"{name}={json.dumps(value)}" for name, value in its.items() if value is not None]
    return f"{kind}({', '.join(given)})"


def words(value):
    """What a script compiled or gave, in words: objects of Keras's by what these are made of."""
    return value if isinstance(value, str) else json.dumps(_plain(value), sort_keys=True)


def _plain(value):
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:  # as Keras writes an object down
            return {str(value["class_name"]): _plain(value["config"])}
        return {str(key): _plain(part) for key, part in value.items() if key != "name"}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (keras.losses.Loss, keras.optimizers.schedules.LearningRateSchedule)):
        try:
            return {type(value).__name__: _plain(value.get_config())}
        except Exception:  # one of the user's own need not have a config
            return type(value).__name__
    return getattr(value, "__qualname__", type(value).__name__)
