"""The loss of a step: written in torch or Keras's own, with all that is added to it."""

import contextlib

from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_losses, keras_models
from keras_dawn.native.steps import joint_evaluation
from keras_dawn.native.steps.losses import native_loss
from keras_dawn.native.steps.own_losses import masked_over_ranks
from keras_dawn.native.steps.valid_items import over_ranks


class StepLoss:
    """What a step differentiates and reports.

    Args:
        model: compiled `keras.Model`.
        forward: its `GraphForward` or `LayerForward`, which knows what is added to the loss.

    Attributes:
        reason: str, why Keras computes the loss, or `None`.
        left_to_keras: bool, whether it has computed that of the last batch.
    """

    def __init__(self, model, forward):
        self._model, self._forward = model, forward
        self._own = keras_models.is_overridden(model, "compute_loss")
        self._native = self.reason = None
        self.left_to_keras = self._penalties_are_due = False

    def read(self, outputs):
        """Reads the loss from `compile`, for outputs like these."""
        if self._own:
            self.reason = "compute_loss of the model's own"
        else:
            self._native, self.reason = native_loss(self._model, outputs)

    def settings(self):
        """What computing it reads in every step, where it is native."""
        return self._native.settings()

    def to_differentiate(self, x, y, outputs, sample_weight, rank_weight):
        """The loss of a batch to train on, but for penalties whose gradients come apart.

        Args:
            x, y, outputs, sample_weight: of the batch; y and sample_weight beside the outputs.
            rank_weight: float, of this rank's part of the batch on several ranks.
        """
        several = current().several
        loss, whole = self._computed(
            x, y, outputs, sample_weight, rank_weight if several else None, training=True
        )
        forward, self._penalties_are_due = self._forward, False
        if whole or not forward.adds_losses:
            return loss
        # Several ranks average what `backward` leaves, and torch may expect a gradient of every
        # weight from it.
        known = forward.adds_penalties and not several
        self._penalties_are_due = known and not loss.ndim and loss.requires_grad
        return forward.with_added_losses(loss, apart=self._penalties_are_due)

    def completed(self, loss, scale):
        """The loss that was differentiated, with the penalties and their gradients.

        To be called without gradients.

        Args:
            loss: tensor.
            scale: 0-d tensor that it was multiplied by for the backward pass, or `None`.
        """
        return self._forward.penalise(loss, scale) if self._penalties_are_due else loss

    def to_report(self, x, y, outputs, sample_weight):
        """The loss of a batch in evaluation."""
        together = joint_evaluation.is_under_way(self._model)
        weight = joint_evaluation.weight_of_part() if together else None
        loss, whole = self._computed(x, y, outputs, sample_weight, weight, training=False)
        added = not whole and self._forward.adds_losses
        return self._forward.with_added_losses(loss) if added else loss

    def _computed(self, x, y, outputs, sample_weight, weight, training):
        """`(loss, whether Keras has added everything)`; weight: among ranks, or `None`."""
        loss = None
        if self._native is not None:
            with _NOTHING if weight is None else over_ranks(weight):
                loss = self._native(y, outputs, sample_weight)
        self.left_to_keras = loss is None or self._native.left_to_keras
        if loss is not None:
            return loss, False
        model = self._model
        with _NOTHING if weight is None else masked_over_ranks(model, weight):
            if self._forward.adds_penalties:
                loss = keras_losses.compiled_loss_of(model, y, outputs, sample_weight)
            if loss is not None:
                return loss, False
            return keras_losses.compute_loss(model, x, y, outputs, sample_weight, training), True


_NOTHING = contextlib.nullcontext()
