"""The native train, test and predict steps of one compiled model."""

import contextlib

from keras_dawn.data.unmade import Unmade
from keras_dawn.foundation import keras_metrics, keras_models
from keras_dawn.native import parallel
from keras_dawn.native.steps.autocast import forget_casts
from keras_dawn.native.steps.beside import beside
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.preparation import Preparation

import keras
import torch


class NativeSteps(Preparation):
    """Steps of `fit`, `evaluate` and `predict` on a model's native forward pass.

    No step waits for the device or copies a number from the host, but for every
    `log_every`-th, whose logs are refreshed.

    Args:
        model: built `keras.Model`.
        log_every: int, in how many steps the logs within an epoch are refreshed.
        compile, way: as `Preparation` takes them.
    """

    def __init__(self, model, log_every, compile=False, way=None):
        super().__init__(model, self._train, compile, way)
        self.log_every = log_every
        self.exact_logs = False
        self.found_whole = None  # the graph that a silent `fit` has found native throughout
        self.logs_are_seen = True  # before an epoch's end
        self.keep_gradients = False  # in the variables, for callbacks that look between batches
        self.rank_weight = 1.0  # of this rank's part of the batch, on several ranks
        self.makes_arrays = False  # of what it predicts, and nothing else
        self.undisturbed = False  # whether nothing of the user's has run since the last batch
        self._own_metrics = keras_models.is_overridden(model, "compute_metrics")
        self._logs, self._since_refresh = None, 0

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
        self.follow_trainability()
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
                self.look_at(outputs)
            y, sample_weight = beside(y, outputs), beside(sample_weight, outputs)
            loss = self.loss.to_differentiate(x, y, outputs, sample_weight, self.rank_weight)
            if self.forward.runs_python or self.loss.reason is not None:
                self.follow_the_call()  # after the loss, which may call layers of its own
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
                # A mask is multiplied into the weights of samples in place, as in Keras.
                weights = keras.tree.map_structure(_copy, sample_weight)
                targets, weights = beside(y, outputs), beside(weights, outputs)
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
                self.look_at(outputs)
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


def _copy(weight):
    return None if weight is None else torch.as_tensor(weight).clone()


_NOTHING = contextlib.nullcontext()
