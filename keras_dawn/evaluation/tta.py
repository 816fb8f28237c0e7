"""Test-time augmentation: the mean of a model's answers to several views of each image."""

from keras_dawn.data.batches import Batches
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.foundation import keras_internals
from keras_dawn.native.accelerate import native_forward

import keras
import torch

AVERAGES = ("probabilities", "logits")


def predict_tta(
    model,
    x,
    *,
    flip=True,
    shift=0,
    augmented=None,
    n=4,
    beta=0.25,
    average="probabilities",
    certain=None,
    batch_size=256,
):
    """Predicts from several views of each image and averages.

    The fixed views are the image, its mirror image (`flip`), and with `shift` also both moved
    by so many pixels towards two opposite corners, which together weigh as much as those in
    place: Jordan's six views (2024, arXiv:2404.00498) with a shift of 1. With `augmented`, the
    mean over `n` random augmentations is blended in as fastai's `Learner.tta` does it: `beta`
    times the fixed views and `1 - beta` times the augmented ones.

    On several ranks each of them predicts everything.

    Args:
        model: compiled `keras.Model` of class scores `(batch, classes)`; accelerated or not.
        x: images `(count, height, width, channels)` as the model takes them, or data that
            yields batches of them, with labels or without, in a fixed order.
        flip: bool.
        shift: int from 0 up, pixels; borders are filled by reflection.
        augmented: the same images in the same order, augmented at random, as data with
            `set_epoch` such as `DeviceImages(..., augment=[...])`; or `None`.
        n: int from 1 up, how often to go through `augmented`.
        beta: float in [0, 1], the weight of the fixed views beside the augmented ones.
        average: `"probabilities"` (fastai's) or `"logits"` (Jordan's), what is averaged.
        certain: float in (0, 1]; an image whose likeliest class has at least this probability
            without views keeps that prediction, and only the others get the fixed views, which
            saves most of their time on a good network. `None` gives them to all.
        batch_size: int, of the batches that arrays are cut into.

    Returns:
        float32 array `(count, classes)`: probabilities, or logits if those were averaged.

    Raises:
        ValueError: bad numbers, a model that was not compiled, data that shuffles itself, or
            augmented data of another length.

    Example:
        >>> inputs = keras.Input((8, 8, 3))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> predict_tta(model, np.zeros((5, 8, 8, 3), "float32"), shift=1).shape
        (5, 2)
    """
    scores, _ = _scores(
        model, Batches(x, None, batch_size), flip, shift, augmented, n, beta, average, certain
    )
    return scores.cpu().numpy()


def evaluate_tta(
    model,
    x,
    y=None,
    *,
    flip=True,
    shift=0,
    augmented=None,
    n=4,
    beta=0.25,
    average="probabilities",
    certain=None,
    batch_size=256,
):
    """The compiled loss and metrics of `predict_tta`'s answers.

    Args:
        model, flip, shift, augmented, n, beta, average, certain, batch_size: as for
            `predict_tta`.
        x: as for `predict_tta`; data yields `(images, labels)`.
        y: labels, where `x` is an array.

    Returns:
        dict like that of `model.evaluate(..., return_dict=True)`.

    Raises:
        ValueError: as `predict_tta`, and where there are no labels.

    Example:
        >>> evaluate_tta(model, test_data, shift=1, average="logits")   # doctest: +SKIP
        {'accuracy': 0.9391, 'loss': 0.31}
    """
    data = Batches(x, y, batch_size)
    scores, labels = _scores(model, data, flip, shift, augmented, n, beta, average, certain)
    if labels is None:
        raise ValueError("Evaluation needs labels: give `y`, or data that yields them.")
    if average == "probabilities" and gives_logits(model):
        scores = scores.log()  # logits whose softmax is the mean
    elif average == "logits" and not gives_logits(model):
        scores = torch.softmax(scores, -1)
    model.reset_metrics()
    tracker = keras_internals.loss_tracker(model)
    for part, target in zip(scores.split(batch_size), labels.split(batch_size), strict=True):
        loss = model.compute_loss(y=target, y_pred=part, training=False)
        tracker.update_state(loss, sample_weight=len(part))
        model.compute_metrics(None, target, part)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


@torch.no_grad()
def _scores(model, data, flip, shift, augmented, n, beta, average, certain):
    """The averaged scores, float32 `(count, classes)`, and the labels or `None`."""
    _check(model, data.x, augmented, shift, n, beta, average, certain)
    if current().several:
        average_moving_statistics(model)
    forward = _scorer(model, average)
    parts, labels = [], []
    for images, targets in data:
        parts.append(_of_views(forward, images, flip, shift, certain, average))
        labels.append(targets)
    if not parts:
        raise ValueError("There are no images to predict from.")
    scores = torch.cat(parts)
    if augmented is not None:
        random = _mean_of_augmented(forward, augmented, n)
        if random.shape != scores.shape:
            raise ValueError(
                f"`augmented` must have the same {len(scores)} images, it has {len(random)}."
            )
        scores = torch.lerp(random, scores, beta)
    known = all(target is not None for target in labels)
    return scores, torch.cat(labels) if known else None


def _of_views(forward, images, flip, shift, certain, average):
    """The mean scores of the fixed views, where `certain` asks for them."""
    if certain is None:
        return sum(weight * forward(view) for weight, view in fixed_views(images, flip, shift))
    scores = forward(images).clone()
    likely = scores if average == "probabilities" else torch.softmax(scores, -1)
    doubtful = likely.amax(-1) < certain
    if doubtful.any():
        images = images[doubtful.to(images.device)]
        scores[doubtful] = _of_views(forward, images, flip, shift, None, average)
    return scores


def _mean_of_augmented(forward, augmented, n):
    epoch = augmented.epoch
    total = 0
    try:
        for turn in range(n):
            augmented.set_epoch(epoch + turn)
            total = total + torch.cat([forward(images) for images, _ in Batches(augmented)])
    finally:
        augmented.set_epoch(epoch)
    return total / n


def fixed_views(images, flip, shift):
    """The views as pairs of a weight and images; the weights add up to 1.

    Args:
        images: tensor `(batch, height, width, channels)`, or channels first.
        flip: bool. shift: int.
    """
    rows = 1 if keras.config.image_data_format() == "channels_last" else 2
    views = [(1.0, images)]
    if shift:
        corners = [_moved(images, rows, shift, towards) for towards in (1, -1)]
        views = [(0.5, images), *((0.25, corner) for corner in corners)]
    if flip:
        views = [
            (weight / 2, view) for weight, side in views for view in (side, side.flip(rows + 1))
        ]
    return views


def _moved(images, rows, shift, towards):
    """Images moved by `shift` pixels towards a corner (1: the first, -1: the last)."""
    for axis in (rows, rows + 1):
        size = images.shape[axis]
        place = (torch.arange(size, device=images.device) + towards * shift).abs()
        place = torch.where(place < size, place, 2 * (size - 1) - place)  # reflected
        images = images.index_select(axis, place)
    return images


def _scorer(model, average):
    """A function from images to float32 scores of the kind that is averaged."""
    forward, logits = native_forward(model), gives_logits(model)

    def scores(images):
        outputs = torch.as_tensor(forward(images)).float()
        if average == "probabilities":
            return torch.softmax(outputs, -1) if logits else outputs
        return outputs if logits else outputs.clamp_min(torch.finfo(torch.float32).tiny).log()

    return scores


def gives_logits(model):
    """Whether a model's outputs are logits, by the loss it was compiled with; else `None`."""
    loss, _ = keras_internals.compiled_loss(model)
    if loss is None:
        return None
    return bool(getattr(loss, "get_config", dict)().get("from_logits", False))


def _check(model, x, augmented, shift, n, beta, average, certain):
    if gives_logits(model) is None:
        raise ValueError(
            "The model must be compiled with a loss, which says whether its outputs are logits."
        )
    if not isinstance(shift, int) or shift < 0:
        raise ValueError(f"`shift` must be a whole number from 0 up, got {shift!r}.")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` must be a whole number from 1 up, got {n!r}.")
    if certain is not None and not 0 < certain <= 1:
        raise ValueError(f"`certain` must be in (0, 1], or None, got {certain}.")
    if not 0 <= beta <= 1:
        raise ValueError(f"`beta` must be in [0, 1], got {beta}.")
    if average not in AVERAGES:
        raise ValueError(f"`average` must be one of {', '.join(AVERAGES)}, got {average!r}.")
    for name, data in (("x", x), ("augmented", augmented)):
        if getattr(data, "shuffle", False) is True:
            raise ValueError(f"`{name}` shuffles itself, so its images have no fixed order.")
    if augmented is not None and not hasattr(augmented, "set_epoch"):
        raise ValueError(
            "`augmented` must be data with `set_epoch`, such as keras_dawn.data.DeviceImages, got "
            f"{type(augmented).__name__}."
        )
