"""What the updates share."""

import functools

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.foundation.norms import norms_of
from keras_dawn.native.steps.settings import Settings
from keras_dawn.native.steps.updates.numbers import MovingNumbers
from keras_dawn.native.steps.weighing import count_up
from keras_dawn.schedules.under_way import scheduled

import keras
import torch


class Update:
    """Parameters, clipping, hyper-parameters and the step counter.

    Args:
        optimizer: built Keras optimizer, without `LossScaleOptimizer` around it.
        leaves: list of `Leaf`, the parameters that get a gradient.
    """

    reason = None  # why it is not fused
    handles_found_inf = True
    takes_none = False  # as a gradient
    needs_all = False  # of the gradients
    rescales = False  # the gradients, in place, whatever the settings

    def __init__(self, optimizer, leaves):
        self.optimizer = optimizer
        self.leaves = leaves
        self.parameters = [leaf.tensor for leaf in leaves]
        self.dtype = self.parameters[0].dtype if leaves else torch.float32
        self.device = self.parameters[0].device if leaves else torch.device("cpu")
        self._decayed = self._exclusions = None
        self.moving = None  # `MovingNumbers`, for steps that may become a CUDA graph

    def is_laid_out(self):
        """Whether the state still lies in memory as the parameters do."""
        return True

    def changes_gradients(self):
        """Whether a step writes into the gradients that it is given."""
        return self.rescales or any(getattr(self.optimizer, name) for name in _REWRITE_GRADIENTS)

    def scale(self, loss):
        """The loss as it is to be differentiated."""
        return self.optimizer.scale_loss(loss)

    def number(self, name):
        """A hyper-parameter as a Python number, whatever kind of scalar was assigned."""
        value = getattr(self.optimizer, name)
        if value is None or isinstance(value, (float, int)):
            return value
        return float(value.value if isinstance(value, keras.Variable) else value)

    def changing(self, name):
        """A hyper-parameter that schedules change: as `number`, or a 0-d tensor for a graph."""
        return self.number(name) if self.moving is None else self.moving(name)

    def follow_on_device(self):
        """Lets the step read from the device what callbacks change, so that a graph can be made."""
        kept = self.kept_on_device()
        names = functools.partial(scheduled, self.optimizer)
        self.moving = MovingNumbers(self.number, self.device, kept, names)
        self._settings = Settings(self.optimizer, kept.values())

    def has_numbers(self):
        """Whether tensors may be read as Python numbers: on a processor, and not for a graph."""
        return self.moving is None and self.device.type == "cpu"

    def kept_on_device(self):
        """Hyper-parameters, by name, that the optimizer keeps in 0-d tensors itself."""
        return {}

    def follow(self):
        """Takes up what callbacks have assigned since the last step."""
        if self.moving is not None:
            self.moving.follow()

    def settings(self):
        """All that the Python of a step reads of the optimizer, but for what the device holds."""
        return self._settings(self.moving.moving()), self.moving.signs()

    def why_no_graph(self):
        """Why the step cannot be part of a CUDA graph, or `None`."""
        return self.reason

    def clipped(self, gradients):
        """The gradients, clipped in place as the optimizer says, by Keras's formulas."""
        each, together, value = map(self.number, ("clipnorm", "global_clipnorm", "clipvalue"))
        if each and each > 0:
            norms = norms_of(gradients)
            torch._foreach_clamp_min_(norms, each)  # shorter ones are multiplied by each / each
            torch._foreach_mul_(gradients, each)
            torch._foreach_div_(gradients, norms)
        elif together and together > 0:
            norm = torch.stack(norms_of(gradients)).norm()
            scale = together * norm.reciprocal().clamp_max(1.0 / together)
            # norm − norm is 0, or NaN where the norm is not finite: then all is NaN, as in Keras.
            torch._foreach_mul_(gradients, scale + (norm - norm))
        elif value and value > 0:
            torch._foreach_clamp_min_(gradients, -value)
            torch._foreach_clamp_max_(gradients, value)
        return gradients

    def decayed(self):
        """What `to_decay` said, asked again where other weights were excluded since."""
        told = keras_optimizers.decay_exclusions(self.optimizer)
        if told is None or told is not self._exclusions:
            self._decayed = self.to_decay()
            self._exclusions = keras_optimizers.decay_exclusions(self.optimizer)
        return self._decayed

    def to_decay(self):
        """The parameters that the optimizer does not exclude from its weight decay, a list."""
        return [
            leaf.tensor
            for leaf in self.leaves
            if keras_optimizers.uses_weight_decay(self.optimizer, leaf.variable)
        ]

    def count(self, found_inf):
        """Advances the optimizer's own counter, unless the step was skipped."""
        counter = keras_variables.memory_of(keras_optimizers.iterations(self.optimizer))
        if found_inf is None:
            count_up(counter, 1)
        else:
            counter.add_((1 - found_inf).to(counter.dtype).view(()))

    def step_by_its_own_code(self, gradients):
        """The optimizer's own update, past what `apply` does before and after it."""
        variables = [leaf.variable for leaf in self.leaves]
        gradients = self.in_keras_shapes(gradients)
        keras_optimizers.update_variables(self.optimizer, gradients, variables)

    def in_keras_shapes(self, gradients):
        """The parameters' gradients in the shapes of their Keras variables."""
        return [
            None if gradient is None else leaf.transform.undo(gradient, tuple(leaf.variable.shape))
            for leaf, gradient in zip(self.leaves, gradients, strict=True)
        ]


_REWRITE_GRADIENTS = ("clipnorm", "global_clipnorm", "clipvalue", "loss_scale_factor",
                      "gradient_accumulation_steps")  # fmt: skip
