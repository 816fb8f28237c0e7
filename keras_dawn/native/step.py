"""The native train, test and predict steps of one compiled model."""

import warnings

from keras_dawn.distributed.ranks import current
from keras_dawn.distributed.session import check_metrics
from keras_dawn.hyperparameters import unwrap
from keras_dawn.native import keras_internals, parallel
from keras_dawn.native.cuda_graph import GraphedForward
from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.statistics import MovingAverages
from keras_dawn.native.steps.losses import native_loss
from keras_dawn.native.steps.metrics import NativeMetrics
from keras_dawn.native.steps.optimization import Optimization, Trainability

import keras
import numpy as np
import torch


class NativeSteps:
    """Lowers a model for training and for evaluation, and steps on the results.

    No step waits for the device or copies a number from the host, but for every
    `log_every`-th, whose logs are refreshed.

    Args:
        model: built `keras.Model`.
        log_every: int, in how many steps the logs within an epoch are refreshed.
        compile: bool, whether to `torch.compile` the lowered graphs.
    """

    def __init__(self, model, log_every, compile=False):
        self.model = model
        self.log_every = log_every
        self.exact_logs = False
        self.rank_weight = 1.0  # of this rank's part of the batch, on several ranks
        self.evaluating = lower(model, training=False)
        self.training = None
        self.metrics = None
        self._compile = compile
        self._forward_evaluating = self._callable(self.evaluating)
        self._loss, self.loss_reason = None, None
        self._logs, self._since_refresh = None, 0

    def prepare_losses(self):
        """Reads loss and metrics from `compile`; they must be built."""
        if self.metrics is None:
            outputs = self.evaluating.functional.outputs
            self._loss, self.loss_reason = native_loss(self.model, outputs)
            self.metrics = NativeMetrics(self.model, outputs)

    def prepare_training(self):
        """Lowers the training graph and lays out the optimizer's state."""
        self.prepare_losses()
        if self.training is not None:
            if not self.optimization.is_current():
                self._optimize()
            return
        optimizer = self.model.optimizer
        inner = unwrap(optimizer)
        if not inner.built:
            inner.build(self.model.trainable_variables)
        self.training = lower(self.model, training=True, collect_statistics=True)
        self._optimize()
        self._trainability = Trainability(self.model)
        forward = self._callable(self.training)
        if current().several:
            check_metrics(self.model)
            self._forward_training = parallel.data_parallel(forward)
        elif self._compile or self.training.fallbacks:
            # Never a graph around Keras's or the user's Python: it would be frozen in it.
            self._forward_training = forward
        else:
            self._forward_training = GraphedForward(forward)
        self.averages = MovingAverages(self.training.statistics)
        halves = [layer for layer in self.training.native if _in_float16(layer)]
        if halves and optimizer is inner and optimizer.loss_scale_factor is None:
            warnings.warn(
                f"{halves[0].name} and others compute in float16, but the optimizer does not "
                "scale the loss, so small gradients become 0. Set the mixed_float16 policy "
                "before the model is made, or compile with keras.optimizers.LossScaleOptimizer.",
                stacklevel=2,
            )

    def _optimize(self):
        leaves = [leaf for leaf in self.training.leaves.values() if leaf.tensor.requires_grad]
        self.optimization = Optimization(self.model, leaves)

    @property
    def update(self):
        """The optimizer step that is taken when every weight gets a gradient."""
        return self.optimization.update

    def _callable(self, lowered):
        return torch.compile(lowered.module) if self._compile else lowered.module

    def reset_logs(self):
        """Makes the next step's logs fresh ones: a new epoch begins."""
        self._logs = None

    def train_step(self, batches):
        """One step on `batches[0]`, as `fit` hands it over; returns logs as floats."""
        if self._trainability.changed():  # within an epoch; Keras looks in every step, too
            self.training = None
            self.prepare_training()
        self.optimization.clear()
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batches[0])
        inputs = self._inputs(self.training, x)
        outputs, statistics = self._forward_training(*inputs)
        outputs = self._structured(self.training, outputs)
        y = self._on_device(y, inputs[0])
        loss = self._compute_loss(x, y, outputs, sample_weight, training=True)
        skip = self.optimization.step(loss if self.rank_weight == 1.0 else loss * self.rank_weight)
        self.averages.update(statistics, skip)
        return self._finish(loss, y, outputs, sample_weight, inputs[0].shape[0])

    @torch.no_grad()
    def test_step(self, batches):
        """One evaluation step; returns logs as floats."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batches[0])
        inputs = self._inputs(self.evaluating, x)
        outputs = self._structured(self.evaluating, self._forward_evaluating(*inputs))
        y = self._on_device(y, inputs[0])
        loss = self._compute_loss(x, y, outputs, sample_weight, training=False)
        return self._finish(loss, y, outputs, sample_weight, inputs[0].shape[0])

    @torch.no_grad()
    def predict_step(self, batches):
        """The outputs for one batch, in the structure that the model returns."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batches[0])
        inputs = self._inputs(self.evaluating, x)
        return self._structured(self.evaluating, self._forward_evaluating(*inputs))

    def _inputs(self, lowered, x):
        """The batch as the graph's inputs: flat, on the device, in the inputs' dtypes."""
        if isinstance(x, torch.Tensor) and _fits(x.shape, lowered.functional.inputs):
            flat = [x]
        else:
            flat = keras_internals.standardize_inputs(lowered.functional, x)
            for tensor, expected in zip(flat, lowered.functional.inputs, strict=True):
                if not _fits(tensor.shape, [expected]):
                    raise ValueError(
                        f"{self.model.name} expects input of shape {tuple(expected.shape)}, got "
                        f"{tuple(tensor.shape)}."
                    )
        device = self._device()
        return [
            tensor.to(device, dtype) if (tensor.dtype, tensor.device) != (dtype, device) else tensor
            for tensor, dtype in zip(flat, lowered.input_dtypes, strict=True)
        ]

    def _device(self):
        for parameter in self.evaluating.module.parameters():
            return parameter.device
        return torch.device("cpu")

    def _on_device(self, y, reference):
        if isinstance(y, np.ndarray):
            y = torch.as_tensor(y)
        if isinstance(y, torch.Tensor) and y.device != reference.device:
            y = y.to(reference.device)
        return y

    def _structured(self, lowered, outputs):
        if lowered.output_structure == 0:
            return outputs
        flat = outputs if isinstance(outputs, tuple) else (outputs,)
        return keras.tree.pack_sequence_as(lowered.output_structure, list(flat))

    def _compute_loss(self, x, y, outputs, sample_weight, training):
        if self.evaluating.fallbacks and self.model.losses:
            raise LoweringError("A layer adds a loss of its own (add_loss).")
        if self._loss is not None and sample_weight is None and isinstance(y, torch.Tensor):
            loss = self._loss(y, outputs)
            if loss is not None:
                return loss
        return keras_internals.compute_loss(self.model, x, y, outputs, sample_weight, training)

    def _finish(self, loss, y, outputs, sample_weight, batch):
        self.metrics.update(loss, y, outputs, sample_weight, batch)
        self._since_refresh += 1
        if self._logs is None or self.exact_logs or self._since_refresh >= self.log_every:
            self._since_refresh = 0
            self._logs = self.metrics.results()
        return dict(self._logs)


def _fits(shape, symbolic):
    """Whether one tensor's shape is that of the only symbolic input, where known."""
    if len(symbolic) != 1 or len(shape) != len(symbolic[0].shape):
        return False
    return all(
        expected is None or size == expected
        for size, expected in zip(shape[1:], symbolic[0].shape[1:], strict=True)
    )


def _in_float16(layer):
    return getattr(layer, "compute_dtype", None) == "float16"
