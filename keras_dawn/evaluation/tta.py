"""Test-time augmentation: the mean of a model's answers to several views of each image."""

from keras_dawn.data.batches import Batches
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.evaluation.views import Views, check_order, fixed_views
from keras_dawn.foundation import keras_losses, keras_metrics
from keras_dawn.native.accelerate import native_forward

import torch

AVERAGES = ("probabilities", "logits")


def predict_tta(model, x, *, views=None, augmented=None, average="probabilities", batch_size=256):
    """Predicts from several views of each image and averages.

    On several ranks each of them predicts everything.

    Args:
        model: compiled `keras.Model` of class scores `(batch, classes)`; accelerated or not.
        x: images `(count, height, width, channels)` as the model takes them, or data that
            yields batches of them, with labels or without, in a fixed order.
        views: `Views`; by default `Views()`, the image and its mirror image.
        augmented: `Augmented`, random views beside the fixed ones, or `None`.
        average: `"probabilities"` (fastai's) or `"logits"` (Jordan's), what is averaged.
        batch_size: int, of the batches that arrays are cut into.

    Returns:
        float32 array `(count, classes)`: probabilities, or logits if those were averaged.

    Raises:
        ValueError: a model that was not compiled, data that shuffles itself, or augmented data of
            another length.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 3))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> predict_tta(model, np.zeros((5, 8, 8, 3), "float32"), views=Views(shift=1)).shape
        (5, 2)
    """
    data = Batches(x, None, batch_size)
    scores, _ = _scores(model, data, views or Views(), augmented, average)
    return scores.cpu().numpy()


def evaluate_tta(
    model, x, y=None, *, views=None, augmented=None, average="probabilities", batch_size=256
):
    """The compiled loss and metrics of `predict_tta`'s answers.

    Args:
        model, views, augmented, average, batch_size: as for `predict_tta`.
        x: as for `predict_tta`; data yields `(images, labels)`.
        y: labels, where `x` is an array.

    Returns:
        dict like that of `model.evaluate(..., return_dict=True)`.

    Raises:
        ValueError: as `predict_tta`, and where there are no labels.

    Example:
        >>> evaluate_tta(model, data, views=Views(shift=1), average="logits")  # doctest: +SKIP
        {'accuracy': 0.9391, 'loss': 0.31}
    """
    data = Batches(x, y, batch_size)
    scores, labels = _scores(model, data, views or Views(), augmented, average)
    if labels is None:
        raise ValueError("Evaluation needs labels: give `y`, or data that yields them.")
    if average == "probabilities" and gives_logits(model):
        scores = scores.log()  # logits whose softmax is the mean
    elif average == "logits" and not gives_logits(model):
        scores = torch.softmax(scores, -1)
    model.reset_metrics()
    tracker = keras_metrics.loss_tracker(model)
    for part, target in zip(scores.split(batch_size), labels.split(batch_size), strict=True):
        loss = model.compute_loss(y=target, y_pred=part, training=False)
        # A batch's mean counts for its images: the last batch is smaller.
        tracker.update_state(loss, sample_weight=len(part))
        model.compute_metrics(None, target, part)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


@torch.no_grad()
def _scores(model, data, views, augmented, average):
    """The averaged scores, float32 `(count, classes)`, and the labels or `None`."""
    if gives_logits(model) is None:
        raise ValueError(
            "The model must be compiled with a loss, which says whether its outputs are logits."
        )
    if average not in AVERAGES:
        raise ValueError(f"`average` must be one of {', '.join(AVERAGES)}, got {average!r}.")
    check_order(data.x, "`x`")
    if current().several:
        average_moving_statistics(model)
    forward = _scorer(model, average)
    parts, labels = [], []
    for images, targets in data:
        parts.append(_of_views(forward, images, views, average))
        labels.append(targets)
    if not parts:
        raise ValueError("There are no images to predict from.")
    scores = torch.cat(parts)
    if augmented is not None:
        random = _mean_of_augmented(forward, augmented.data, augmented.n)
        if random.shape != scores.shape:
            raise ValueError(
                f"`augmented` must have the same {len(scores)} images, it has {len(random)}."
            )
        scores = torch.lerp(random, scores, augmented.beta)
    known = all(target is not None for target in labels)
    return scores, torch.cat(labels) if known else None


def _of_views(forward, images, views, average):
    """The mean scores of the fixed views, where `certain` asks for them."""
    if views.certain is None:
        return _mean_of_fixed(forward, images, views)
    scores = forward(images).clone()
    # `certain` is a probability, whatever is averaged.
    likely = scores if average == "probabilities" else torch.softmax(scores, -1)
    doubtful = likely.amax(-1) < views.certain
    if doubtful.any():
        images = images[doubtful.to(images.device)]
        scores[doubtful] = _mean_of_fixed(forward, images, views)
    return scores


def _mean_of_fixed(forward, images, views):
    fixed = fixed_views(images, views.flip, views.shift)
    return sum(weight * forward(view) for weight, view in fixed)


def _mean_of_augmented(forward, augmented, n):
    epoch = augmented.epoch
    total = 0
    try:
        for turn in range(n):
            # Random numbers go by the epoch: each turn sees other views of the same images.
            augmented.set_epoch(epoch + turn)
            total = total + torch.cat([forward(images) for images, _ in Batches(augmented)])
    finally:
        augmented.set_epoch(epoch)
    return total / n


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
    loss, _ = keras_losses.compiled_loss(model)
    if loss is None:
        return None
    return bool(getattr(loss, "get_config", dict)().get("from_logits", False))
