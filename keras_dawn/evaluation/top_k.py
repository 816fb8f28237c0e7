"""Top-1 and top-5 of a classifier on photos, always said together with the image size."""

from keras_dawn.data.batches import Batches
from keras_dawn.distributed.alike import check_alike
from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics, broadcast_weights
from keras_dawn.distributed.sharding import is_served_whole, shared_out
from keras_dawn.evaluation.scores import OutputCheck, Scores, mean_of_logarithms
from keras_dawn.evaluation.views import mirrored
from keras_dawn.foundation import keras_variables
from keras_dawn.native.accelerate import native_forward

import torch

_LOGITS = Scores(logits=True, of_each_class=False)


def evaluate_images(model, data, *, flip=False):
    """Counts how often the right class is first, and among the first five.

    Args:
        model: `keras.Model` that returns `(batch, classes)`: logits, or probabilities if it was
            compiled with a loss on probabilities; accelerated or not.
        data: `ValidationImages`, or other batches of `(images, labels)`, with weights or without,
            which do not matter; images are `(batch, height, width, channels)`, or as Keras's image
            data format has them, labels class numbers `(batch,)` or `(batch, 1)`, or
            `(batch, classes)`: the largest counts.
        flip: bool, whether to average the probabilities with those of the mirrored photo
            (test-time augmentation).

    Returns:
        dict with `top1` and `top5` as fractions, `images` (how many), `image_size` in pixels and
        `rectangular` where the data tells, and `flip`. On several ranks, over all of them.

    Raises:
        ValueError: no images, no labels, a model with one output, which is no class's, or with
            `flip` outputs that are no probabilities and by its loss no logits.

    Example:
        >>> evaluate_images(model, ValidationImages(val, 256, image_size=224))  # doctest: +SKIP
    """
    forward = native_forward(model)
    meaning = Scores.of(model, _LOGITS) if flip else _LOGITS
    check = OutputCheck(meaning)
    if flip:
        forward = _of_both_views(forward, meaning, check)
    if current().several:
        average_moving_statistics(model)
        broadcast_weights(model)
        with shared_out(data, training=False):
            check_alike(data)
            counts = _count(forward, data, keras_variables.device_of(model))
            if not is_served_whole(data):  # else every rank has counted all
                sum_over_ranks([counts])
    else:
        counts = _count(forward, data, keras_variables.device_of(model))
    check.finish()
    first, five, images = counts.tolist()
    if not images:
        raise ValueError("There are no images to evaluate on.")
    return {
        "top1": first / images,
        "top5": five / images,
        "images": images,
        "image_size": getattr(data, "image_size", None),
        "rectangular": getattr(data, "rectangular", None),
        "flip": flip,
    }


def _of_both_views(forward, meaning, check):
    """Scores in the order of the mean probability of an image and its mirror image."""

    def scores(images):
        views = forward(images), forward(mirrored(images))
        if not meaning.logits:
            check.add(views[0])
            return views[0] + views[1]
        # Logarithms: of a confident answer the probabilities of many classes are 0 alike.
        mean = mean_of_logarithms((0.5, meaning.logarithms(view)) for view in views)
        return meaning.from_logarithms(mean)

    return scores


@torch.no_grad()
def _count(forward, data, device):
    """int64 `(3,)` on `device`: right first, right among five, images."""
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for images, labels in Batches(data, as_shared=True):
        if labels is None:
            raise ValueError("Accuracies need labels: give data that yields them.")
        outputs = torch.as_tensor(forward(images))
        if outputs.shape[-1] == 1:
            raise ValueError(
                "The model has one output for an image, which is not the first of several classes: "
                "`model.evaluate` counts it by a threshold."
            )
        labels = labels.to(outputs.device).reshape(len(labels), -1)
        # One column is class numbers, as Keras's CIFAR-10 has them.
        labels = labels.argmax(-1) if labels.shape[-1] > 1 else labels[:, 0]
        hits = outputs.topk(min(5, outputs.shape[-1])).indices == labels[:, None]
        # On the device: a number on the host would wait for every batch.
        counts[0] += hits[:, 0].sum()
        counts[1] += hits.sum()
        counts[2] += len(hits)
    return counts
