"""Loss scaling for float16, on the device."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.native.steps.updates import is_patched

import keras
import torch


def only_scales(optimizer):
    """Whether an optimizer around another one is Keras's own loss scaling, and nothing more."""
    scales = type(optimizer) is keras.optimizers.LossScaleOptimizer and not is_patched(optimizer)
    return scales and optimizer.inner_optimizer is unwrap(optimizer)


class LossScaling:
    """`LossScaleOptimizer` without waiting for the device, which skips, halves and doubles itself.

    Args:
        optimizer: `keras.optimizers.LossScaleOptimizer`.
        update: the native update of the optimizer inside it.
    """

    def __init__(self, optimizer, update):
        self.optimizer = optimizer
        self.update = update
        if not optimizer.built:
            optimizer.build(keras_optimizers.trainable_variables(unwrap(optimizer)))

    def scale(self, loss):
        """The loss times the present scale."""
        return loss * self.optimizer.dynamic_scale.value

    def step(self, gradients):
        """Unscales, steps unless a gradient is not finite, adapts the scale.

        Args:
            gradients: list of tensors, those of the update's parameters.

        Returns:
            bool tensor of shape `(1,)`: whether the step was skipped.
        """
        scale = self.optimizer.dynamic_scale.value
        found_inf = torch.zeros(1, dtype=torch.float32, device=scale.device)
        torch._amp_foreach_non_finite_check_and_unscale_(
            # The reciprocal in float64, as torch's GradScaler has it.
            gradients,
            found_inf,
            scale.double().reciprocal().float(),
        )
        self.update.step(gradients, found_inf)
        torch._amp_update_scale_(
            scale.data,
            self.optimizer.step_counter.value.data,
            found_inf,
            2.0,
            0.5,
            self.optimizer.dynamic_growth_steps,
        )
        return found_inf > 0
