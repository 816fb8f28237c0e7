"""`fit(class_weight=…)` for this package's data sets, for which Keras refuses it."""

import contextlib
import weakref

from keras_dawn.data.balance import class_weights
from keras_dawn.data.batches import epoch_kept
from keras_dawn.data.samplers import InOrder

import torch

_LENT = weakref.WeakSet()  # samplers whose weights are those of the classes in a `fit`


@contextlib.contextmanager
def weighed_by_class(arguments):
    """Lets the data of a `fit` come with the weights of its classes, for the time of that `fit`.

    Args:
        arguments: dict of `fit`'s arguments; `class_weight` is taken out of it where the data is
            one of this package's sets. That works on several ranks too.

    Raises:
        ValueError: data whose sampler has weights already, as Keras has it, or weights of other
            things than classes.
    """
    data, given = arguments.get("x"), arguments.get("class_weight")
    if given is None or not isinstance(getattr(data, "sampler", None), InOrder):
        yield
        return
    labels = getattr(data, "labels", getattr(getattr(data, "source", None), "labels", None))
    if labels is None:
        yield
        return
    if data.sampler.weights is not None:
        raise ValueError(
            "You cannot use `class_weight` and a sampler's `weights` at the same time: leave one "
            "of them out."
        )
    del arguments["class_weight"]
    # `DeviceImages` has its labels on the device.
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    _check_classes(given, getattr(data, "class_names", None) or ())
    data.sampler.weights = torch.from_numpy(class_weights(labels, given))
    _LENT.add(data.sampler)
    try:
        yield
    finally:
        _LENT.discard(data.sampler)
        data.sampler.weights = None


@contextlib.contextmanager
def asked_about(arguments):
    """Leaves this package's data as it was that a model is evaluated on, or asked for answers.

    Its epoch stays, but where a `fit` validates on it; and within a `fit` it comes without the
    weights of the classes, as in Keras.

    Args:
        arguments: dict of the arguments of `evaluate` or `predict`.
    """
    data = arguments.get("x")
    sampler = getattr(data, "sampler", None)
    keeps = hasattr(data, "settings_epoch") and not arguments.get("_use_cached_eval_dataset")
    lent = isinstance(sampler, InOrder) and sampler in _LENT
    weights = sampler.weights if lent else None
    try:
        if lent:
            sampler.weights = None
        with epoch_kept(data) if keeps else contextlib.nullcontext():
            yield
    finally:
        if lent:
            sampler.weights = weights


def _check_classes(weights, names):
    """Keras passes over a class that there is not; here the classes are known."""
    if not names or not isinstance(weights, dict):
        return
    unknown = [key for key in weights if key not in range(len(names))]
    if unknown:
        raise ValueError(
            f"`class_weight` has the key {unknown[0]!r}; the classes are 0 to {len(names) - 1}, in "
            "the order of `class_names`."
        )
