"""Test-time augmentation: the mean of a model's answers to several views of each image."""

from dataclasses import replace

from keras_dawn.data.batches import Batches, epoch_kept
from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.same_everywhere import average_moving_statistics
from keras_dawn.evaluation.scores import OutputCheck, Scores, mean_of_logarithms
from keras_dawn.evaluation.views import Views, check_images, check_order, fixed_views
from keras_dawn.foundation import keras_metrics
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
        ValueError: a model that was not compiled, outputs that are no probabilities and by its loss
            no logits, data that shuffles itself, or augmented data of another length.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 3))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> predict_tta(model, np.zeros((5, 8, 8, 3), "float32"), views=Views(shift=1)).shape
        (5, 2)
    """
    data = Batches(x, None, batch_size)
    meaning = Scores.of(model)
    scores, _, _ = _averaged(model, data, meaning, views or Views(), augmented, average)
    if average == "probabilities":
        scores = meaning.probabilities(scores)
    return scores.cpu().numpy()


def evaluate_tta(
    model, x, y=None, *, views=None, augmented=None, average="probabilities", batch_size=256
):
    """The compiled loss and metrics of `predict_tta`'s answers, weighted where the data is.

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
    meaning = Scores.of(model)
    found = _averaged(model, data, meaning, views or Views(), augmented, average)
    scores, labels, weights = found
    if average == "logits" and not meaning.logits:  # of which there are logits now
        scores = replace(meaning, logits=True).probabilities(scores)
    if labels is None:
        raise ValueError("Evaluation needs labels: give `y`, or data that yields them.")
    model.reset_metrics()
    tracker = keras_metrics.loss_tracker(model)
    for start in range(0, len(scores), batch_size):
        part = slice(start, start + batch_size)
        target, own = labels[part], None if weights is None else weights[part]
        loss = model.compute_loss(y=target, y_pred=scores[part], sample_weight=own, training=False)
        # A batch's mean counts for its images: the last batch is smaller.
        tracker.update_state(loss, sample_weight=len(target))
        model.compute_metrics(None, target, scores[part], own)
    return keras_metrics.as_evaluate_gives(model.get_metrics_result())


@torch.no_grad()
def _averaged(model, data, meaning, views, augmented, average):
    """The averaged scores, and labels and weights or `None`.

    Scores are float32 `(count, classes)`: where probabilities are averaged, what the model's
    outputs are, and otherwise logits.
    """
    if average not in AVERAGES:
        raise ValueError(f"`average` must be one of {', '.join(AVERAGES)}, got {average!r}.")
    check_order(data.x, "`x`")
    if current().several:
        average_moving_statistics(model)
    kind = _Probabilities(meaning) if average == "probabilities" else _Logits(meaning)
    forward, check = native_forward(model), OutputCheck(meaning)

    def score(images):
        outputs = torch.as_tensor(forward(images))
        check.add(outputs)
        return kind.scores(outputs)

    parts, labels, weights = [], [], []
    for images, targets, own in data.weighted():
        check_images(images, views)
        parts.append(_of_views(score, kind, images, views))
        labels.append(targets)
        weights.append(own)
    if not parts:
        raise ValueError("There are no images to predict from.")
    scores = torch.cat(parts)
    if augmented is not None:
        random = _mean_of_augmented(score, kind, augmented.data, augmented.n)
        if random.shape != scores.shape:
            raise ValueError(
                f"`augmented` must have the same {len(scores)} images, it has {len(random)}."
            )
        scores = kind.mean([(1 - augmented.beta, random), (augmented.beta, scores)])
    check.finish()
    return kind.outputs(scores), _joined(labels), _joined(weights)


def _joined(parts):
    """Parts of each batch as one tensor, `None` where a batch has none."""
    return None if any(part is None for part in parts) else torch.cat(parts)


class _Probabilities:
    """Averages probabilities, as their logarithms: a confident model's are 0 in float32."""

    def __init__(self, meaning):
        self.scores, self.outputs = meaning.logarithms, meaning.from_logarithms
        self.mean = mean_of_logarithms

    @staticmethod
    def certainty(scores):
        if scores.ndim == 3:  # yes and no of each class: of the class that is least certain
            return scores.amax(-1).amin(-1).exp()
        return scores.amax(-1).exp()


class _Logits:
    """Averages logits; of a model that gives probabilities, their logarithms."""

    def __init__(self, meaning):
        self._meaning, self._of_logits = meaning, replace(meaning, logits=True)

    def scores(self, outputs):
        if self._meaning.logits:
            return outputs.float()
        return self._of_logits.from_logarithms(self._meaning.logarithms(outputs))

    def outputs(self, scores):
        return scores

    def mean(self, weighted):
        return sum(weight * scores for weight, scores in weighted)

    def certainty(self, scores):
        probabilities = self._of_logits.probabilities(scores)
        if self._meaning.of_each_class:
            return torch.maximum(probabilities, 1 - probabilities).amin(-1)
        return probabilities.amax(-1)


def _of_views(score, kind, images, views):
    """The mean scores of the fixed views, where `certain` asks for them."""
    if views.certain is None:
        return _mean_of_fixed(score, kind, images, views)
    scores = score(images).clone()
    doubtful = kind.certainty(scores) < views.certain
    if doubtful.any():
        images = images[doubtful.to(images.device)]
        scores[doubtful] = _mean_of_fixed(score, kind, images, views)
    return scores


def _mean_of_fixed(score, kind, images, views):
    fixed = fixed_views(images, views.flip, views.shift)
    return kind.mean((weight, score(view)) for weight, view in fixed)


def _mean_of_augmented(score, kind, augmented, n):
    epoch, found = augmented.epoch, []
    with epoch_kept(augmented):
        for turn in range(n):
            # Random numbers go by the epoch: each turn sees other views of the same images.
            augmented.set_epoch(epoch + turn)
            found.append(torch.cat([score(images) for images, _ in Batches(augmented)]))
    return kind.mean((1 / n, scores) for scores in found)
