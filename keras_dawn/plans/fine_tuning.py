"""Fine-tuning a pretrained network: the head first, then all of it, each layer at its own rate."""

import numbers
import re
import warnings
from dataclasses import dataclass, replace

from keras_dawn.foundation import hyperparameters, keras_optimizers
from keras_dawn.optimizers.layerwise import layerwise
from keras_dawn.plans.group_freezing import GroupFreezing
from keras_dawn.plans.layer_groups import LayerGroups
from keras_dawn.plans.one_training import OneTraining
from keras_dawn.schedules import OneCycle

import keras
from torch.utils.data import DataLoader

UNFREEZE = ("all", "gradually")


def fine_tune(
    model,
    x,
    *,
    epochs,
    head_epochs=1,
    max_lr=None,
    groups=None,
    unfreeze="all",
    **fit,
):
    """Fine-tunes a compiled model by fastai's recipe, in plain Keras.

    The head is trained in one cycle, the rest frozen; then all groups in another, at half the rate,
    the groups before the head at smaller ones (Howard & Ruder 2018, arXiv:1801.06146; fastai's
    `Learner.fine_tune`). Both cycles have the ends of `OneCycle`, a 25th of the highest rate at
    first, where fastai's second one begins at a fifth. Each part begins with a new optimizer of the
    compiled kind and settings; afterwards the model has the last one, and is trainable as it was
    (Keras saves it as the compiled one, without rates by layer). Called again, also after an error
    or Ctrl-C, it begins from the compiled settings as before.

    Args:
        model: compiled `keras.Model`, accelerated or not.
        x: as for `fit`.
        epochs: int, for all layers.
        head_epochs: int, for the head alone, before; 0 for none.
        max_lr: float, the head's highest rate while it is trained alone; by default the compiled
            one, or what it was set to since (a warning where that is a hundredth or less).
        groups: `LayerGroups`: which layers have which rate, and what batch normalisation does; by
            default three, whose rates are 1, 10 and 100 to one another.
        unfreeze: `"all"` at once, or `"gradually"`: after the head one group more each epoch,
            before the `epochs` of all (ULMFiT).
        **fit: other arguments of `fit` (`y`, `validation_data`, `callbacks`, …). Callbacks see one
            training, of all epochs, counted on from 0; who stops it, stops all of it. With
            `ResumeTraining` among them, a training that was killed goes on in the part and at the
            step of its last checkpoint.

    Returns:
        `keras.callbacks.History` of all epochs.

    Raises:
        ValueError: a model that is not compiled, a setting out of range or of another kind, an
            optimizer with multipliers of its own, or weights of one name in two groups.

    Example:
        >>> model = keras_dawn.models.ResNet18(classes=10, weights="imagenet")  # doctest: +SKIP
        >>> model.compile(keras.optimizers.AdamW(2e-3), loss, ["accuracy"])     # doctest: +SKIP
        >>> keras_dawn.fine_tune(model, train, epochs=5, validation_data=val)   # doctest: +SKIP
    """
    _check(model, epochs, head_epochs, unfreeze, max_lr, groups)
    if isinstance(x, DataLoader):  # which shuffles itself: Keras would warn of its own default
        fit = {"shuffle": False, **fit}
    groups = LayerGroups() if groups is None else groups
    layers = groups.of(model)
    compiled = _as_compiled(model.optimizer)
    highest = compiled.rate if max_lr is None else max_lr
    if max_lr is None:
        _warn_of_a_rate_left_behind(model.optimizer, highest)
    parts = _parts(len(layers), highest, epochs, head_epochs, unfreeze)
    freezing = GroupFreezing(layers, groups.batch_norm)
    histories, begun = [], 0
    users = keras.tree.flatten(fit.get("callbacks") or ())
    total = sum(part[2] for part in parts)
    training = OneTraining(users, total)
    try:
        for count, rate, length, rising in parts:
            freezing.train(count)
            rates = dict(zip(range(len(layers)), groups.rates(len(layers)), strict=True))
            model.optimizer = _optimizer(model.optimizer, compiled, layers, rates)
            ends = begun + length
            cycle = OneCycle(rate, pct_start=rising, epochs=range(begun, ends))
            with training.part(first=begun == 0, last=ends == total) as part:
                arguments = {**fit, "callbacks": [part, *users, cycle]}
                last = model.fit(x, initial_epoch=begun, epochs=ends, **arguments)
            # A `History` among the user's callbacks begins its epochs anew with each `fit`, and
            # goes on with its logs.
            logs = {
                name: values[len(values) - len(last.epoch) :]
                for name, values in last.history.items()
            }
            histories.append((list(last.epoch), logs))
            begun = ends
            if model.stop_training and ends < total:
                training.end()
                break
    finally:
        freezing.restore()
        _remember(model.optimizer, compiled)
    return _joined(last, histories)


def _parts(groups, highest, epochs, head_epochs, unfreeze):
    """`(groups trained, highest rate, epochs, fraction of them in which it rises)` of each fit."""
    # fastai's `fine_tune`: the rate of the head alone rises nearly to the end (pct_start=0.99), and
    # that of all layers together to half of it.
    parts = [(1, highest, head_epochs, 0.99)] if head_epochs else []
    if unfreeze == "gradually":
        parts += [(count, highest / 2, 1, 0.3) for count in range(2, groups)]
    return [*parts, (groups, highest / 2, epochs, 0.3)]


@dataclass(frozen=True)
class _Compiled:
    """What an optimizer was compiled with."""

    kind: type
    config: dict
    rate: float


_COMPILED = "_keras_dawn_compiled"  # on an optimizer that `fine_tune` made


def _as_compiled(optimizer):
    """What it was compiled with, or, where `fine_tune` made it, the one before."""
    inner = hyperparameters.unwrap(optimizer)
    now = hyperparameters.read(inner, "learning_rate")
    if _COMPILED not in vars(inner):
        return _Compiled(type(inner), inner.get_config(), now)
    compiled, left = vars(inner)[_COMPILED]
    # Another rate than the cycle's last is one that the user has set since.
    return compiled if now == left else replace(compiled, rate=now)


def _warn_of_a_rate_left_behind(optimizer, rate):
    """Where a callback of Keras has ended near 0 since the last call, nearly nothing is trained."""
    before = vars(hyperparameters.unwrap(optimizer)).get(_COMPILED)
    if before and rate < before[0].rate / 100:
        warnings.warn(
            f"The highest rate of this training is {rate:.3g}, which the optimizer has now; it was "
            f"compiled with {before[0].rate:.3g}. If a callback such as ReduceLROnPlateau has "
            "left it there, give `max_lr`.",
            stacklevel=3,
        )


def _remember(optimizer, compiled):
    inner = hyperparameters.unwrap(optimizer)
    if getattr(inner, "rate_multipliers", None):
        left = hyperparameters.read(inner, "learning_rate")
        vars(inner)[_COMPILED] = compiled, left  # past Keras, which would track what is in it


def _optimizer(current, compiled, groups, rates):
    """A new optimizer like the compiled one, with a rate for each group."""
    patterns, places = {}, {}
    for place, group in enumerate(groups):
        paths = [v.path for layer in group for v in layer.trainable_variables]
        if twice := [path for path in paths if places.setdefault(path, place) != place]:
            raise ValueError(
                f"Two groups have a weight called {twice[0]!r}, and rates go by that name: give "
                "the layers of the models in this model different names."
            )
        # Whole paths, escaped: one layer's path may begin with another's (`conv1`, `conv10`).
        if paths:
            patterns[f"^(?:{'|'.join(map(re.escape, paths))})$"] = rates[place]
    new = compiled.kind.from_config(compiled.config)
    keras_optimizers.copy_decay_exclusions(hyperparameters.unwrap(current), new)
    made = layerwise(new, patterns, compiled.config.get("decay_multipliers"))
    # `compile` put it around the optimizer under mixed_float16; without it the small gradients of
    # half precision would be 0.
    if not isinstance(current, keras.optimizers.LossScaleOptimizer):
        return made
    settings = {**current.get_config(), "inner_optimizer": made}
    return keras.optimizers.LossScaleOptimizer(**settings)


def _joined(last, histories):
    """The last `History`, with the `(epochs, logs)` of all."""
    last.epoch = [epoch for epochs, _ in histories for epoch in epochs]
    # A dict keeps the order of the names, which a set would not.
    names = dict.fromkeys(name for _, logs in histories for name in logs)
    last.history = {
        name: [value for _, logs in histories for value in logs.get(name, ())] for name in names
    }
    return last


def _check(model, epochs, head_epochs, unfreeze, max_lr, groups):
    if not model.compiled or model.optimizer is None:
        raise ValueError(f"Compile {model.name} with an optimizer and a loss first.")
    for name, value, least in (("epochs", epochs, 1), ("head_epochs", head_epochs, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` must be a whole number from {least} up, got {value!r}.")
    if unfreeze not in UNFREEZE:
        raise ValueError(f"`unfreeze` must be one of {', '.join(UNFREEZE)}, got {unfreeze!r}.")
    if max_lr is not None and not (isinstance(max_lr, numbers.Real) and max_lr > 0):
        raise ValueError(
            f"`max_lr` must be a number above 0, the head's rate, got {max_lr!r}; how far the "
            "other layers' rates are below it says groups=LayerGroups(spread=…)."
        )
    if not (groups is None or isinstance(groups, LayerGroups)):
        raise ValueError(f"`groups` must be LayerGroups(…), got {groups!r}.")
    inner = hyperparameters.unwrap(model.optimizer)
    if getattr(inner, "rate_multipliers", None) and _COMPILED not in vars(inner):
        raise ValueError(
            "The optimizer has `rate_multipliers`, which fine_tune sets by `groups`: compile the "
            "model with a new optimizer."
        )
