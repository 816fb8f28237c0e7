"""Top-1 and top-5 of a classifier on photos, always said together with the image size."""

from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.distributed.sharding import shared_out
from keras_dawn.evaluation.tta import gives_logits
from keras_dawn.native.accelerate import native_forward

import torch


def evaluate_images(model, data, *, flip=False):
    """Counts how often the right class is first, and among the first five.

    Args:
        model: `keras.Model` that returns `(batch, classes)`: logits, or probabilities if it was
            compiled with a loss on probabilities; accelerated or not.
        data: `ValidationImages`, or other batches of `(images, class numbers)`; images are
            `(batch, height, width, channels)`.
        flip: bool, whether to average the probabilities with those of the mirrored photo
            (test-time augmentation).

    Returns:
        dict with `top1` and `top5` as fractions, `images` (how many), `image_size` in pixels and
        `rectangular` where the data tells, and `flip`. On several ranks, over all of them.

    Raises:
        ValueError: no images.

    Example:
        >>> evaluate_images(model, ValidationImages(val, 256, image_size=224))  # doctest: +SKIP
    """
    forward = native_forward(model)
    if flip and gives_logits(model) is not False:
        forward = _with_softmax(forward)
    if current().several:
        average_moving_statistics(model)
        with shared_out(data, training=False):
            counts = _count(forward, data, flip, _device(model))
        sum_over_ranks([counts])
    else:
        counts = _count(forward, data, flip, _device(model))
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


def _with_softmax(forward):
    return lambda images: torch.softmax(forward(images).float(), -1)


def _device(model):
    """Where a model computes; a rank without images counts there too, as the others do."""
    return next((v.value.device for v in model.variables), torch.device("cpu"))


@torch.no_grad()
def _count(forward, data, flip, device):
    """int64 `(3,)` on `device`: right first, right among five, images."""
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    for images, labels in data:
        outputs = forward(images)
        if flip:
            outputs = outputs + forward(images.flip(2))
        labels = torch.as_tensor(labels, device=outputs.device)
        if labels.ndim == 2:
            labels = labels.argmax(-1)
        hits = outputs.topk(min(5, outputs.shape[-1])).indices == labels[:, None]
        counts[0] += hits[:, 0].sum()
        counts[1] += hits.sum()
        counts[2] += len(hits)
    return counts
