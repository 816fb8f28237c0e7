"""Which of Keras's loss functions are written in torch, and which settings of theirs.

Every function takes targets and outputs, floats of one dtype (class numbers may be whole), and
the settings of the Keras function. `NotAlikeError` says that Keras has to compute this one: targets
that are broadcast, settings of an unusual kind, what it warns of or refuses.
"""

import functools
import inspect

from keras_dawn.native.steps import class_losses, numeric_losses
from keras_dawn.native.steps.loss_targets import NotAlikeError

import keras

VALUES = {
    getattr(keras.losses, form.__name__): form
    for form in (
        numeric_losses.mean_squared_error,
        numeric_losses.mean_absolute_error,
        numeric_losses.mean_absolute_percentage_error,
        numeric_losses.mean_squared_logarithmic_error,
        numeric_losses.cosine_similarity,
        numeric_losses.huber,
        numeric_losses.log_cosh,
        numeric_losses.hinge,
        numeric_losses.squared_hinge,
        numeric_losses.categorical_hinge,
        numeric_losses.kl_divergence,
        numeric_losses.poisson,
        class_losses.binary_crossentropy,
        class_losses.binary_focal_crossentropy,
        class_losses.categorical_crossentropy,
        class_losses.categorical_focal_crossentropy,
        class_losses.sparse_categorical_crossentropy,
        class_losses.categorical_generalized_cross_entropy,
        class_losses.dice,
        class_losses.tversky,
    )
}


def known(function, settings):
    """The settings that the native form of a Keras loss takes.

    Args:
        function: Keras's, one of `VALUES`.
        settings: dict of what it is called with.

    Raises:
        NotAlikeError: a setting that a later Keras added, with another value than its default.
    """
    added = _added(function)
    if not added:
        return settings
    for name, default in added.items():
        if settings.get(name, default) != default:
            raise NotAlikeError(f"{name}={settings[name]!r}")
    return {name: value for name, value in settings.items() if name not in added}


@functools.cache
def _added(function):
    """Defaults of the settings that a Keras loss has and its native form has not."""
    native = inspect.signature(VALUES[function]).parameters
    _, _, *theirs = inspect.signature(function).parameters.values()  # without the tensors
    return {each.name: each.default for each in theirs if each.name not in native}
