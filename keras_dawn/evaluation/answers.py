"""A classifier's answers to a labelled set: what it confuses, what it is most wrong about."""

import dataclasses

from keras_dawn.data.batches import Batches
from keras_dawn.evaluation.scores import OutputCheck, Scores
from keras_dawn.native.accelerate import native_forward

import numpy as np
import torch


@dataclasses.dataclass(frozen=True)
class Answers:
    """What `collect_answers` found; draw it with `keras_dawn.plots`.

    Args:
        probabilities: float32 array `(count, classes)`.
        labels: int64 array `(count,)`.
        images: array `(count, height, width, channels)` as the network saw them, or `None`.
        class_names: tuple of str, or `None` where the data has none.
        names: list of str, those of the photos (`source.name`), or `None`.
        mean, std: floats per channel on the scale [0, 1], which the images were normalised by.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    images: np.ndarray | None = None
    class_names: tuple | None = None
    names: list | None = None
    mean: tuple = (0.0,)
    std: tuple = (1.0,)

    def __repr__(self):
        count, classes = self.probabilities.shape
        right = 100 * float(np.mean(self.predicted == self.labels)) if count else 0.0
        return f"Answers({count:,} images, {classes:,} classes, {right:.2f} % right)"

    @property
    def predicted(self):
        """int64 array `(count,)`: the most probable classes."""
        return self.probabilities.argmax(-1)

    @property
    def losses(self):
        """float32 array `(count,)`: the cross-entropy of each answer."""
        right = np.take_along_axis(self.probabilities, self.labels[:, None], -1)[:, 0]
        return -np.log(np.maximum(right, np.finfo("float32").tiny))  # finite for a probability of 0

    def confusion(self):
        """int64 array `(classes, classes)`: how often the row's class got the column's."""
        classes = self.probabilities.shape[-1]
        # One count of pairs in place of a loop over the images.
        cells = self.labels * classes + self.predicted
        return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)

    def most_confused(self, at_least=1):
        """Pairs of classes, most often confused first, as `(true, predicted, count)`."""
        counts = self.confusion() * (1 - np.eye(self.probabilities.shape[-1], dtype=int))
        # Stable: of equal counts the classes' order decides, on every machine.
        order = np.argsort(-counts, axis=None, kind="stable")
        pairs = [(*divmod(int(cell), len(counts)), int(counts.flat[cell])) for cell in order]
        return [pair for pair in pairs if pair[2] >= at_least]

    def worst(self, count):
        """int64 array: the places of the highest losses, the worst first, of which is NaN."""
        losses = self.losses
        return np.argsort(-np.where(np.isnan(losses), np.inf, losses), kind="stable")[:count]


@torch.no_grad()
def collect_answers(model, x, y=None, *, keep_images=True, batch_size=256):
    """Asks a model about every image of a labelled set.

    Args:
        model: compiled `keras.Model` of class scores; accelerated or not.
        x: images, or data that yields `(images, labels)`; labels may be class probabilities.
            This package's data tells its classes and its normalisation too, and
            `ValidationImages` the names of its photos.
        y: labels, where `x` is an array.
        keep_images: bool, whether to keep the images too, for pictures.
        batch_size: int, of the batches that arrays are cut into.

    Returns:
        `Answers`.

    Raises:
        ValueError: no images, no labels, or others than the model's classes, a model that was not
            compiled, or outputs that are no probabilities and by its loss no logits.

    Example:
        >>> answers = collect_answers(model, test_data)                 # doctest: +SKIP
        >>> answers.most_confused()[0]                                  # doctest: +SKIP
        (3, 5, 61)
        >>> [answers.names[place] for place in answers.worst(16)]       # doctest: +SKIP
        ['beagle/7.jpg', …]
    """
    meaning = Scores.of(model)
    forward, check = native_forward(model), OutputCheck(meaning)
    scores, labels, images = [], [], []
    for batch, targets in Batches(x, y, batch_size):
        if targets is None:
            raise ValueError("Answers need labels: give `y`, or data that yields them.")
        outputs = torch.as_tensor(forward(batch)).float()
        check.add(outputs)
        found = meaning.probabilities(outputs).cpu()
        if meaning.of_each_class and found.shape[-1] == 1:  # of the second of two classes
            found = torch.cat([1 - found, found], -1)
        scores.append(found)
        labels.append(_one_label(targets, meaning).long().cpu())
        _check_classes(labels[-1], found.shape[-1])
        if keep_images:
            images.append(batch.cpu())
    if not scores:
        raise ValueError("There are no images to ask about.")
    check.finish()
    return Answers(
        torch.cat(scores).numpy(),
        torch.cat(labels).numpy(),
        torch.cat(images).numpy() if keep_images else None,
        *_described(x),
    )


def _described(data):
    """Class names, names of the images served, mean and std, as far as the data tells them."""
    source, places = getattr(data, "source", None), getattr(data, "places", None)
    names = None if places is None else [source.name(place) for place in places]
    transforms = getattr(data, "transforms", None)
    mean, std = getattr(transforms, "mean_and_std", ((0.0,), (1.0,)))
    return getattr(data, "class_names", None), names, mean, std


def _check_classes(labels, classes):
    """Raises `ValueError` for labels that are no number of a class."""
    if classes == 1:
        raise ValueError(
            "The model has one output for an image, and its loss does not say that this is the "
            "probability of the second of two classes. Compile it with BinaryCrossentropy."
        )
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise ValueError(
            f"The model knows the classes 0 to {classes - 1}, and there are labels from "
            f"{int(labels.min())} to {int(labels.max())}."
        )


def _one_label(targets, meaning):
    """Class numbers `(batch,)` of labels in any form."""
    if targets.ndim == 1 or targets.shape[-1] == 1:
        return targets.reshape(-1)
    if meaning.of_each_class and not bool((targets.sum(-1) == 1).all()):
        raise ValueError(
            "Answers are of one class each, and some images here have several labels, or none."
        )
    return targets.argmax(-1)
