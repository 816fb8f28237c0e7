"""The native train, test and predict steps of one compiled model."""

import contextlib
import warnings

from keras_dawn.data.unmade import Unmade
from keras_dawn.distributed.metrics import check_metrics
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_layers, keras_metrics, keras_models
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.native import parallel
from keras_dawn.native.lowering.layouts import moves
from keras_dawn.native.statistics import MovingAverages
from keras_dawn.native.steps.autocast import forget_casts
from keras_dawn.native.steps.beside import beside, flat_tensors
from keras_dawn.native.steps.graph_forward import GraphForward
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.layer_forward import LayerForward
from keras_dawn.native.steps.metrics import NativeMetrics
from keras_dawn.native.steps.optimization import Optimization, Trainability
from keras_dawn.native.steps.step_graphs import StepGraphs
from keras_dawn.native.steps.step_loss import StepLoss

import keras
import torch


class NativeSteps:
    """Steps of `fit`, `evaluate` and `predict` on a model's native forward pass.

    No step waits for the device or copies a number from the host, but for every
    `log_every`-th, whose logs are refreshed.

    Args:
        model: built `keras.Model`.
        log_every: int, in how many steps the logs within an epoch are refreshed.
        compile: bool, whether to `torch.compile` the lowered graphs.
        by_layer: bool, whether to call a graph of layers layer by layer too.
    """

    def __init__(self, model, log_every, compile=False, by_layer=False):
        self.model = model
        self.log_every = log_every
        self.exact_logs = False
        self.found_whole = None  # the graph that a silent `fit` has found native throughout
        self.logs_are_seen = True  # before an epoch's end
        self.keep_gradients = False  # in the variables, for callbacks that look between batches
        self.rank_weight = 1.0  # of this rank's part of the batch, on several ranks
        self.makes_arrays = False  # of what it predicts, and nothing else
        self.undisturbed = False  # whether nothing of the user's has run since the last batch
        self.forward = make_forward(model, compile, by_layer)
        self.metrics = None
        self.optimization = None
        self.averages = None
        self.graphs = StepGraphs(self, self._train)
        self.loss = StepLoss(model, self.forward)
        self._own_metrics = keras_models.is_overridden(model, "compute_metrics")
        self._output_ranks = None
        self._logs, self._since_refresh = None, 0

    def prepare_losses(self):
        """Reads loss and metrics from `compile`, once they are built and the outputs are known."""
        if self.metrics is None and self.forward.outputs is not None:
            self._read_compiled(self.forward.outputs)

    def _read_compiled(self, outputs):
        self.loss.read(outputs)
        self.metrics = NativeMetrics(self.model)

    def _look_at(self, outputs):
        """Takes note of the outputs of a model whose Python decides what they are."""
        flat = flat_tensors(outputs)
        ranks = [tensor.ndim for tensor in flat]
        if ranks != self._output_ranks:
            self._output_ranks = ranks
            self._read_compiled(flat)

    def prepare_training(self):
        """Makes the forward pass for training ready and lays out the optimizer's state."""
        self.prepare_losses()
        if self.optimization is not None:
            if not self.optimization.is_current():
                self._optimize()
                self.graphs.connect()
            return
        optimizer = self.model.optimizer
        inner = unwrap(optimizer)
        if not inner.built:
            inner.build(self.model.trainable_variables)
        if current().several:
            check_metrics(self.model)
        self.forward.lower_training()
        self._optimize()
        self._trainability = Trainability(self.model)
        self.forward.connect_training(self.graphs.why_not_whole() is None)
        training = self.forward.training
        self.averages = MovingAverages(training.statistics if training else [])
        self.graphs.connect()
        halves = [layer for layer in self.forward.native() if _in_float16(layer)]
        if halves and optimizer is inner and optimizer.loss_scale_factor is None:
            warnings.warn(
                f"{halves[0].name} and others compute in float16, but the optimizer does not "
                "scale the loss, so small gradients become 0. Set the mixed_float16 policy "
                "before the model is made, or compile with keras.optimizers.LossScaleOptimizer.",
                stacklevel=2,
            )

    def _follow_the_call(self):
        """Takes up what a call with Python in it has changed: layers are lowered in it.

        Weights laid out for torch want their optimizer state laid out alike. Layers that were
        built just now have weights that the optimizer may not know, which is Keras's error.
        """
        if moves.count != self._moves or not self.forward.is_complete():
            self._moves = moves.count
            self._optimize()

    def _optimize(self):
        python = self.forward.runs_python or self.loss.reason is not None  # a loss of the user's
        self.optimization = Optimization(self.model, self.forward.leaves(), python)
        self._moves = moves.count

    @property
    def update(self):
        """The optimizer step that is taken when every weight gets a gradient."""
        return None if self.optimization is None else self.optimization.update

    def is_current(self):
        """Whether what was read of the model still holds."""
        if self.optimization is not None and not self.optimization.is_current():
            return False
        if self.averages is not None and not self.averages.are_shared():
            return False
        self.graphs.check_memory()
        return self.forward.is_current()

    def reset_logs(self):
        """Makes the next step's logs fresh ones: a new epoch begins."""
        self._logs = None

    def train_step(self, batches):
        """One step on `batches[0]`, as `fit` hands it over; returns logs as floats."""
        forget_casts()
        try:
            return self._train_step(batches)
        finally:
            forget_casts()

    def _train_step(self, batches):
        if self._trainability.changed():  # Keras looks at `trainable` in every step, too
            self.optimization = None
            self.prepare_training()
        self.optimization.clear()
        # Also where no graph is made any more: what has begun to move lies on the device.
        self.optimization.update.follow()
        batch = batches[0]
        if self.graphs.whole is not None:
            self.graphs.step(batch if isinstance(batch, Unmade) else self.parts(batch))
            return self._fresh_logs()
        self.graphs.stay_out()
        if isinstance(batch, Unmade):
            batch = batch.made()
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        inputs = self.forward.inputs(x)
        if self.forward.needs_rehearsal:
            # Once, before the first step counts: see `parallel.needs_rehearsal`.
            self._rehearse(inputs, y, sample_weight, x)
        logs = self._train(inputs, y, sample_weight, x)
        return self._fresh_logs() if logs is None else logs

    def parts(self, batch):
        """Inputs as the graph of layers takes them, targets and weights, all on its device."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        inputs = self.forward.inputs(x)
        return inputs, beside(y, inputs), beside(sample_weight, inputs)

    def _train(self, inputs, y, sample_weight, x=None):
        """The step itself; logs of the model's own, or `None`."""
        with self.forward.calls():
            outputs, statistics, batch = self.forward.train(inputs)
            if self.forward.by_layer:
                self._look_at(outputs)
            if self.forward.runs_python:
                self._follow_the_call()
            y, sample_weight = beside(y, outputs), beside(sample_weight, outputs)
            loss = self.loss.to_differentiate(x, y, outputs, sample_weight, self.rank_weight)
            weighed = loss if self.rank_weight == 1.0 else loss * self.rank_weight
            with self.forward.reduction.active() if self.forward.reduction else _NOTHING:
                # Layers are called here too, where a checkpointed part is computed again.
                scale = self.optimization.differentiate(weighed)
                with torch.no_grad():  # once for all that follows: each costs as much as a kernel
                    self.forward.take_gradients()
                    loss = self.loss.completed(loss, scale)
                    skip = self.optimization.step(self.keep_gradients)
                    if statistics:
                        # Now it is known whether the step was skipped: then they stay, too.
                        self.averages.update(statistics, skip)
                    self._count(loss, y, outputs, sample_weight, batch)
        return self._own_logs(x, y, outputs, sample_weight)

    def _rehearse(self, inputs, y, sample_weight, x):
        """Backward passes for torch to lay the gradients out by, and for nothing else."""
        self.forward.needs_rehearsal = False
        with parallel.rehearsal(self.model), self.forward.calls():
            for _ in range(parallel.PASSES_BEFORE_THE_LAYOUT_STAYS):
                outputs = self.forward.train(inputs)[0]
                targets, weights = beside(y, outputs), beside(sample_weight, outputs)
                self.loss.to_differentiate(
                    x, targets, outputs, weights, self.rank_weight
                ).backward()
                self.optimization.clear()

    @torch.no_grad()
    def test_step(self, batches):
        """One evaluation step; returns logs as floats."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batches[0])
        with self.forward.calls():
            outputs, batch = self.forward.evaluate(x)
            if self.forward.by_layer:
                self._look_at(outputs)
            y, sample_weight = beside(y, outputs), beside(sample_weight, outputs)
            loss = self.loss.to_report(x, y, outputs, sample_weight)
        self._count(loss, y, outputs, sample_weight, batch)
        logs = self._own_logs(x, y, outputs, sample_weight)
        return self._fresh_logs() if logs is None else logs

    def predict_step(self, batches):
        """The outputs for one batch, in the structure that the model returns."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batches[0])
        # Tensors of inference mode are of no use to whoever differentiates, so it is for outputs
        # that become arrays.
        outputs = self.forward.alone(x, self.undisturbed) if self.makes_arrays else EMPTY
        if outputs is not EMPTY:
            return outputs
        with torch.no_grad(), self.forward.calls():
            return self.forward.evaluate(x)[0]

    def _count(self, loss, y, outputs, sample_weight, batch):
        """Takes a batch into the metrics."""
        if self._own_metrics:
            self.metrics.track(loss, batch)
        else:
            self.metrics.update(loss, y, outputs, sample_weight, batch)

    def _own_logs(self, x, y, outputs, sample_weight):
        """The logs of the model's own `compute_metrics`, or `None`."""
        if not self._own_metrics:
            return None
        return keras_metrics.own_metrics(self.model, x, y, outputs, sample_weight)

    def _fresh_logs(self):
        """The logs, computed anew every few steps."""
        self._since_refresh += 1
        due = self.logs_are_seen and self._since_refresh >= self.log_every
        if self._logs is None or self.exact_logs or due:
            self._since_refresh = 0
            self._logs = self.metrics.results()
        # A copy: callbacks write into what they are given.
        return dict(self._logs)


_NOTHING = contextlib.nullcontext()


def make_forward(model, compile, by_layer):
    """`GraphForward` of a model that is a graph of layers, else `LayerForward`."""
    graph = keras_models.functional_graph(model) is not None
    if graph and not by_layer and keras_layers.is_only_its_call(model):
        return GraphForward(model, compile)
    return LayerForward(model)


def _in_float16(layer):
    return getattr(layer, "compute_dtype", None) == "float16"
