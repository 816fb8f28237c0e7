"""Losses and metrics said in torch, on logits, without leaving the device."""

from keras_dawn.native import keras_internals

import keras
import torch
import torch.nn.functional as F


def native_loss(model, outputs):
    """`(function, reason)`: a function `(targets, outputs) -> mean loss`, or why there is none.

    Anything else that Keras accepts as a loss is computed by Keras on the native outputs.

    Args:
        model: compiled `keras.Model`.
        outputs: the `KerasTensor`s it returns, flat.
    """
    loss, weights = keras_internals.compiled_loss(model)
    kind = type(loss)
    if weights is not None or len(outputs) != 1:
        return None, "several outputs or loss weights"
    if kind not in (
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.CategoricalCrossentropy,
        keras.losses.BinaryCrossentropy,
        keras.losses.MeanSquaredError,
    ):
        return None, f"the loss {loss if isinstance(loss, str) else kind.__name__}"
    if loss.reduction != "sum_over_batch_size" or getattr(loss, "axis", -1) != -1:
        return None, "reduction or axis of the loss"
    config = loss.get_config()
    if kind is keras.losses.MeanSquaredError:
        return mean_squared_error, None
    if not config.get("from_logits"):
        return None, "a loss on probabilities (logits and from_logits=True are safer and faster)"
    classes = kind is not keras.losses.BinaryCrossentropy
    if classes and len(outputs[0].shape) != 2:
        return None, "outputs that are not (batch, classes)"
    smoothing = float(config.get("label_smoothing") or 0.0)
    if kind is keras.losses.SparseCategoricalCrossentropy:
        if config.get("ignore_class") is not None:
            return None, "ignore_class"
        return sparse_cross_entropy, None
    if kind is keras.losses.CategoricalCrossentropy:
        return CrossEntropy(smoothing), None
    return BinaryCrossEntropy(smoothing), None


def sparse_cross_entropy(targets, outputs):
    """Mean cross-entropy of class numbers with logits `(batch, classes)`."""
    return F.cross_entropy(_wide(outputs), _class_numbers(targets))


def mean_squared_error(targets, outputs):
    """Mean squared error over everything."""
    if targets.ndim < outputs.ndim:
        targets = targets.unsqueeze(-1)
    return F.mse_loss(_wide(outputs), targets.to(_wide(outputs).dtype))


class CrossEntropy:
    """Mean cross-entropy of class probabilities with logits, with label smoothing."""

    def __init__(self, label_smoothing):
        self.label_smoothing = label_smoothing

    def __call__(self, targets, outputs):
        outputs = _wide(outputs)
        return F.cross_entropy(
            outputs, targets.to(outputs.dtype), label_smoothing=self.label_smoothing
        )


class BinaryCrossEntropy:
    """Mean binary cross-entropy with logits, with label smoothing."""

    def __init__(self, label_smoothing):
        self.label_smoothing = label_smoothing

    def __call__(self, targets, outputs):
        outputs = _wide(outputs)
        targets = targets.to(outputs.dtype).view_as(outputs)
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return F.binary_cross_entropy_with_logits(outputs, targets)


class NativeMetrics:
    """Feeds the loss tracker and the compiled metrics on the device.

    Accuracies, top-k and the loss are counted in torch, straight into the Keras metrics'
    variables; other metrics get the native outputs the Keras way.
    """

    def __init__(self, model, outputs):
        self.model = model
        self.tracker = keras_internals.loss_tracker(model)
        unweighted, weighted = keras_internals.compiled_metrics(model)
        flat = len(outputs) == 1 and len(outputs[0].shape) == 2
        counted = [(metric, _counter(metric) if flat else None) for metric in unweighted]
        self.reason = None
        if weighted or any(counter is None for _, counter in counted):
            names = [m.name for m, counter in counted if counter is None] + [
                m.name for m in weighted
            ]
            self.reason = f"Keras counts all metrics, because of {', '.join(names)}"
            counted = []
        self._counted = counted
        self._any = bool(unweighted or weighted)

    @torch.no_grad()
    def track(self, loss, batch):
        """Adds one batch's loss."""
        if self.tracker is not None:
            self.tracker.total.value.add_(loss.detach() * batch)
            self.tracker.count.value.add_(batch)

    @torch.no_grad()
    def update(self, loss, targets, outputs, sample_weight, batch):
        """Adds one batch."""
        self.track(loss, batch)
        if not self._any:
            return
        if self.reason or sample_weight is not None or isinstance(outputs, (list, tuple, dict)):
            keras_internals.update_compiled_metrics(self.model, targets, outputs, sample_weight)
            return
        for metric, counter in self._counted:
            metric.total.value.add_(counter(targets, outputs))
            metric.count.value.add_(batch)

    def results(self):
        """The means so far, as floats by name: waits for the device."""
        if self.reason or self.tracker is None:
            # The class's own: an accelerated model's adds up all ranks.
            results = type(self.model).get_metrics_result(self.model)
            return {name: float(torch.as_tensor(v).detach()) for name, v in results.items()}
        means = [self.tracker, *(metric for metric, _ in self._counted)]
        return {m.name: float((m.total.value / m.count.value).detach()) for m in means}


def _counter(metric):
    """A function `(targets, outputs) -> number of hits`, or `None`."""
    kind = type(metric)
    if kind is keras.metrics.SparseCategoricalAccuracy:
        return lambda y, out: (out.argmax(-1) == _class_numbers(y)).sum()
    if kind is keras.metrics.CategoricalAccuracy:
        return lambda y, out: (out.argmax(-1) == y.argmax(-1)).sum()
    if kind is keras.metrics.SparseTopKCategoricalAccuracy:
        k = metric.get_config()["k"]
        return lambda y, out: (
            out.topk(min(k, out.shape[-1])).indices == _class_numbers(y)[:, None]
        ).sum()
    if kind is keras.metrics.TopKCategoricalAccuracy:
        k = metric.get_config()["k"]
        return lambda y, out: (
            out.topk(min(k, out.shape[-1])).indices == y.argmax(-1)[:, None]
        ).sum()
    return None


def _class_numbers(targets):
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    return targets if targets.dtype == torch.int64 else targets.long()


def _wide(outputs):
    """Half-precision logits as float32: the loss is computed in full."""
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
