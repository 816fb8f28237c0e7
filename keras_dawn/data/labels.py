"""Labels as class probabilities: for label smoothing, MixUp and CutMix."""

from keras_dawn.data.transforms import BatchTransform

import torch


class OneHot(BatchTransform):
    """Class numbers as class probabilities, which smoothing and mixing need.

    `keras.losses.CategoricalCrossentropy` takes such labels, and smooths them with its
    `label_smoothing`; class numbers go to `SparseCategoricalCrossentropy`.

    Args:
        classes: int, how many there are.

    Raises:
        ValueError: fewer classes than 1; where the data is made, a label that is none of them.

    Example:
        >>> images = keras_dawn.data.DeviceImages(
        ...     np.zeros((4, 8, 8, 3), "uint8"), [0, 1, 0, 1], 2,
        ...     transforms=[OneHot(10), keras_dawn.data.MixUp(0.2)],
        ... )
        >>> [tuple(labels.shape) for _, labels in images]
        [(2, 10), (2, 10)]
    """

    mixes_images = False

    def __init__(self, classes):
        if not isinstance(classes, int) or classes < 1:
            raise ValueError(f"`classes` must be a whole number from 1 up, got {classes!r}.")
        self.classes = classes

    def mixed(self, images, labels, numbers):
        """`images` as they are; int64 `(batch,)` as float32 `(batch, classes)`."""
        zeros = torch.zeros((len(labels), self.classes), device=labels.device)
        return images, zeros.scatter_(1, labels[:, None], 1.0)

    def check_labels(self, lowest, highest):
        """Raises `ValueError` unless the lowest and the highest label are among the classes."""
        if lowest < 0:
            raise ValueError(f"OneHot takes labels from 0 up, got {lowest}.")
        if highest >= self.classes:
            raise ValueError(
                f"`classes` must be above every label, got {self.classes} with labels up to "
                f"{highest}."
            )


def check_is_served(data):
    """Raises where photos are given as they lie there, and not as batches of one size.

    Raises:
        ValueError: a `PhotoSource`.
    """
    is_source = all(hasattr(data, name) for name in ("class_names", "names", "subset"))
    if is_source and not hasattr(data, "batch_size"):
        raise ValueError(
            f"{type(data).__name__} says where photos are; `fit` needs batches of one size: "
            "`keras_dawn.data.photos.ResizingImages(source, batch_size, image_size=224)`, and "
            "`ValidationImages` to validate."
        )


def check_same_classes(training, validation):
    """Raises where one label means different classes in training and validation.

    Args:
        training, validation: data sets or anything else; those that have `class_names`, tuples
            in the order of the labels, are compared. Validation may lack the last classes.

    Raises:
        ValueError: the class of a label in validation is another one in training.
    """
    known, seen = (tuple(getattr(d, "class_names", None) or ()) for d in (training, validation))
    if not known or seen == known[: len(seen)]:
        return
    number = next(i for i, name in enumerate(seen) if i >= len(known) or known[i] != name)
    here = repr(known[number]) if number < len(known) else "no class"
    raise ValueError(
        f"Label {number} is {here} in the training data and {seen[number]!r} in the validation "
        "data. Give the validation source the training source's classes, as in "
        "`ImageFolder(folder, class_names=training_source.class_names)`."
    )
