"""Layer-wise adaptive rates for large batches."""

from keras_dawn.foundation.norms import norms_of
from keras_dawn.optimizers.numbers_in_range import number
from keras_dawn.optimizers.patterns import check_patterns, is_vector, matches
from keras_dawn.optimizers.sgd import SGD

import keras
import torch


@keras.saving.register_keras_serializable(package="keras_dawn")
class LARS(SGD):
    """SGD whose rate is adapted layer by layer (You et al. 2017, arXiv:1708.03888).

    For a weight `w` with gradient `g`, in torch's form of momentum:

        trust ← trust_coefficient · ‖w‖ / (‖g‖ + weight_decay · ‖w‖ + epsilon)
        v ← momentum · v + trust · (g + weight_decay · w)
        w ← w − learning_rate · v                      (nesterov: the look-ahead of SGD)

    Biases, scales and other weights of one dimension are neither adapted nor decayed (attention's
    biases have two); what matches `no_adaptation` is not adapted. A weight or a gradient of norm 0
    gets a trust of 1.
    For layer-wise rates on Adam see `keras.optimizers.Lamb`.

    Args:
        learning_rate: float or a `LearningRateSchedule`; large-batch recipes have it above 1.
        momentum, nesterov, weight_decay: as for `SGD`; the decay is coupled.
        trust_coefficient: float above 0.
        epsilon: float from 0 up, in the denominator.
        no_adaptation: list of regular expressions of the paths of further weights.
        **kwargs: `rate_multipliers` and the other arguments of `SGD`.

    Raises:
        ValueError: a value out of range, or a bad regular expression.

    Example:
        >>> optimizer = keras_dawn.optimizers.LARS(2.0, momentum=0.9, weight_decay=1e-4)
        >>> optimizer.trust_coefficient
        0.001
    """

    def __init__(
        self,
        learning_rate=1.0,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0,
        *,
        trust_coefficient=0.001,
        epsilon=0.0,
        no_adaptation=(),
        **kwargs,
    ):
        trust_coefficient = number("trust_coefficient", trust_coefficient, "above 0", above=0)
        epsilon = number("epsilon", epsilon, "0 or more")
        if kwargs.get("decoupled"):
            raise ValueError("LARS couples the weight decay: leave `decoupled` out.")
        super().__init__(learning_rate, momentum, nesterov, weight_decay, **kwargs)
        self.trust_coefficient = trust_coefficient
        self.epsilon = epsilon
        self.no_adaptation = check_patterns(no_adaptation)

    def _kind(self, variable):
        adapted = not is_vector(variable) and not matches(self.no_adaptation, variable)
        return "adapted" if adapted else "plain"

    def _decay(self, variable):
        # As in You et al.: decay pulls scales towards 0, and their ratio of norms says nothing.
        return 0.0 if is_vector(variable) else super()._decay(variable)

    def _update_group(self, traits, weights, gradients, velocities, rate):
        if traits.kind == "plain":
            super()._update_group(traits, weights, gradients, velocities, rate)
            return
        sizes = torch.stack(norms_of(weights))
        slopes = torch.stack(norms_of(gradients))  # before the decay is added
        denominators = slopes + self.epsilon
        if traits.decay and self._weight_decay:
            decay = self._decay_of(traits)
            denominators = denominators + decay * sizes
            gradients = torch._foreach_add(gradients, torch._foreach_mul(weights, decay))
        trust = self.trust_coefficient * sizes / denominators
        # A new bias or a layer that is not reached: the ratio would be 0 or 0 / 0.
        trust = trust.masked_fill((sizes == 0) | (slopes == 0), 1.0)
        gradients = torch._foreach_mul(gradients, list(trust.unbind()))
        self._momentum_step(weights, gradients, velocities, rate, self._momentum_of(traits))

    def get_config(self):
        config = super().get_config()
        del config["decoupled"]
        config.update(
            trust_coefficient=self.trust_coefficient,
            epsilon=self.epsilon,
            no_adaptation=self.no_adaptation,
        )
        return config
