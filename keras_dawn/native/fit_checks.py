"""Whether the data of a `fit` can be trained on, asked before an epoch is spent."""

from keras_dawn.data.labels import OneHot, check_is_served, check_same_classes
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.source_labels import has_several_labels
from keras_dawn.data.transforms import BatchTransform
from keras_dawn.data.validation import warn_of_random_images
from keras_dawn.foundation import keras_models

import keras

_NUMBERS = (keras.losses.SparseCategoricalCrossentropy, "sparse_categorical_crossentropy")
_ONE_HOT = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
)
_STEPS = ("train_step", "test_step", "compute_loss", "make_train_function", "make_test_function")


def check_data(model, training, validation):
    """Checks the data of a `fit`, where it is this package's; warns of random validation data.

    Args:
        model: compiled `keras.Model`.
        training, validation: data for `fit`, or anything else, which is passed over.

    Raises:
        ValueError: photos as they lie there, other classes in validation than in training, or
            labels that the loss does not take.
    """
    check_is_served(training)
    check_is_served(validation)
    check_labels_fit(model, training, validation)
    check_same_classes(training, validation)
    warn_of_random_images(validation)


def check_labels_fit(model, *sets):
    """Checks the data of a `fit` against a loss that says what it takes.

    Args:
        model: compiled `keras.Model`; only Keras's cross-entropies of one output are looked at, and
            no model that has a step or loss of its own, which may make other labels first.
        *sets: data for `fit`, or anything else, which is passed over.

    Raises:
        ValueError: one-hot labels for a loss of class numbers or the other way round, or more
            classes than the model has outputs.
    """
    loss = getattr(model, "loss", None)
    numbers, one_hot = _is_one_of(loss, _NUMBERS), _is_one_of(loss, _ONE_HOT)
    if not (numbers or one_hot) or any(keras_models.is_overridden(model, m) for m in _STEPS):
        return
    for data in sets:
        if not isinstance(getattr(data, "transforms", None), Pipeline):
            continue
        if not all(map(_is_ours, data.transforms.of(BatchTransform))):
            continue  # one of the user's gets the labels, too, and may make others
        name = loss if isinstance(loss, str) else type(loss).__name__
        columns = _has_columns(data)
        if columns and numbers:
            raise ValueError(
                f"{name} takes class numbers, and {type(data).__name__} has labels with a column "
                "a class: use CategoricalCrossentropy, or BinaryCrossentropy where an image "
                "may have several labels."
            )
        classes = len(getattr(data, "class_names", None) or ())
        if not columns and one_hot:
            raise ValueError(
                f"{name} takes labels with a column a class, and {type(data).__name__} has class "
                f"numbers: put OneHot({classes or 'classes'}) into its transforms, in training and "
                "validation, or use SparseCategoricalCrossentropy."
            )
        outputs = _outputs(model)
        if numbers and outputs is not None and classes > outputs:
            raise ValueError(
                f"{type(data).__name__} has {classes} classes, and {model.name} has {outputs} "
                f"outputs: build it with classes={classes}."
            )


def _is_one_of(loss, known):
    # By the class itself: a subclass may take other labels.
    return loss in known if isinstance(loss, str) else type(loss) in known


def _outputs(model):
    """How many numbers a model gives an image, or `None` where it does not say."""
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):  # a subclass, or not built yet
        return None
    return shape[-1] if isinstance(shape, tuple) and isinstance(shape[-1], int) else None


def _is_ours(transform):
    return type(transform).__module__.startswith("keras_dawn.")


def _has_columns(data):
    return has_several_labels(getattr(data, "source", None)) or bool(data.transforms.of(OneHot))
