"""Updates by an optimizer's own code."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.native.steps.updates.base import Update
from keras_dawn.native.steps.updates.fused import Fused

import keras
import torch


class OwnForm(Fused):
    """`keras_dawn`'s optimizers by their own code, past what Keras's `apply` does around it."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        if optimizer._velocities:
            self.state("_velocities")

    def decay(self, rate, skip):
        """Nothing: the decay is part of the step."""

    def follow_on_device(self):
        super().follow_on_device()
        self.moving.take_over()  # its own code reads them there, moved or not

    def kept_on_device(self):
        return self.optimizer.on_device()

    def why_no_graph(self):
        if not isinstance(keras_optimizers.schedule_of(self.optimizer), keras.Variable):
            return "a learning rate that is called in every step"
        return super().why_no_graph()

    def take_step(self, gradients, rate, skip):
        self.step_by_its_own_code(gradients)


class KerasApply(Update):
    """The optimizer's own `apply`, on gradients in Keras's shapes.

    Args:
        optimizer, leaves: as for `Update`.
        reason: str, why no fused update does the same.
        variables: list of all trainable variables; `apply` itself warns of those without a
            gradient.
        applier: the optimizer to call, `optimizer` or a `LossScaleOptimizer` around it.
    """

    handles_found_inf = False
    takes_none = True

    def __init__(self, optimizer, leaves, reason, variables, applier=None):
        super().__init__(optimizer, leaves)
        self.reason = reason
        self._variables = variables
        self._applier = applier or optimizer

    def scale(self, loss):
        return self._applier.scale_loss(loss)

    def step(self, gradients, found_inf=None):
        keys = [id(leaf.variable) for leaf in self.leaves]
        found = dict(zip(keys, self.in_keras_shapes(gradients), strict=True))
        gradients = [found.get(id(variable)) for variable in self._variables]
        skip = None
        if isinstance(self._applier, keras.optimizers.LossScaleOptimizer):  # was it skipped?
            finite = [g.isfinite().all() for g in gradients if g is not None]
            skip = ~torch.stack(finite).all() if finite else None
        self._applier.apply(gradients, self._variables)
        return skip
