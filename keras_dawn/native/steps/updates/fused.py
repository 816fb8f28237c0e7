"""What Keras's `apply` does around an optimizer's own formula, for all weights at once."""

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.native.steps.settings import Settings, frozen
from keras_dawn.native.steps.updates.base import Update
from keras_dawn.native.steps.updates.counting import CountedSteps
from keras_dawn.native.steps.updates.layout import laid_out
from keras_dawn.native.steps.updates.numbers import factor_for
from keras_dawn.native.steps.updates.schedules import ScheduledRate
from keras_dawn.native.steps.updates.skipping import copy_where, unless

import keras
import torch

ACCUMULATORS, AVERAGES = "_accumulated_gradients", "_model_variables_moving_average"


class Fused(Update):
    """An update in few kernels: state laid out like the weights, rate and decay on the device.

    A subclass brings `take_step`, the formula. Around it are, in Keras's order, the loss scale,
    the accumulation of gradients, clipping, weight decay, the average of weights and constraints.
    """

    skips_itself = False  # whether `take_step` and `decay` heed what they are told to skip

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        trained = keras_optimizers.trainable_variables(optimizer)
        order = {id(variable): place for place, variable in enumerate(trained)}
        self._places = [order[id(leaf.variable)] for leaf in leaves]
        self._states = []  # views of state, each with the parameter that it is laid out like
        self._variables = [leaf.variable for leaf in leaves]
        constraints = [variable.constraint for variable in self._variables]
        self.handles_found_inf = all(map(may_be_taken_back, constraints))
        self._accumulators = self._all_accumulators = self._averages = self._averaged = []
        if keras_optimizers.has_state(optimizer, ACCUMULATORS):
            self._accumulators = self.state(ACCUMULATORS)
            self._all_accumulators = _memories(optimizer, ACCUMULATORS)
        if keras_optimizers.has_state(optimizer, AVERAGES):
            others = [place for place in range(len(trained)) if place not in set(self._places)]
            averages = _memories(optimizer, AVERAGES)
            self._averages = self.state(AVERAGES) + [averages[place] for place in others]
            memory = keras_variables.memory_of
            self._averaged = self.parameters + [memory(trained[place]) for place in others]
        self._steps = CountedSteps(optimizer)
        self._scheduled = ScheduledRate(optimizer)
        self._of_rate = None  # a schedule, with its `Settings`

    def state(self, name, numbers=None):
        """torch's views of an optimizer's state, laid out like the parameters.

        Args:
            name: str, of the list of state variables.
            numbers: list of int, which of the parameters have such a state; by default all.
        """
        variables = keras_optimizers.state_variables(self.optimizer, name)
        numbers = range(len(self.leaves)) if numbers is None else numbers
        views = [laid_out(self.leaves[n], variables[self._places[n]]) for n in numbers]
        self._states += [(view, self.parameters[n]) for view, n in zip(views, numbers, strict=True)]
        return views

    def more_state(self):
        """Tensors that `take_step` changes besides parameters and what `state` returned."""
        return []

    def is_laid_out(self):
        """Whether the state still lies in memory as the parameters do."""
        return all(view.stride() == parameter.stride() for view, parameter in self._states)

    def step(self, gradients, found_inf=None):
        """Steps, unless `found_inf` (float32, of one element) says on the device not to.

        To be called without gradients.
        """
        optimizer = self.optimizer
        accumulates = self._accumulators and optimizer.gradient_accumulation_steps
        averages = self._averages and optimizer.use_ema
        constrained = [v for v in self._variables if v.constraint is not None]
        gradients = self._unscaled(gradients)
        if not accumulates and not averages and not constrained:
            self._update(gradients, found_inf)
        elif found_inf is not None:
            with unless(found_inf, self._all_that_changes()):
                self._apply(gradients, constrained, self._steps.on_device())
        elif self.moving is not None:  # a graph asks nobody which step it is
            self._apply(gradients, constrained, self._steps.on_device())
        else:
            self._apply(gradients, constrained, self._steps.taken())
        self.count(found_inf)

    def count(self, found_inf):
        super().count(found_inf)
        self._steps.counted(found_inf)

    def _apply(self, gradients, constrained, taken):
        """All that Keras's `apply` does; `taken` are the steps before, an int or a tensor."""
        optimizer = self.optimizer
        accumulated = optimizer.gradient_accumulation_steps if self._accumulators else None
        if accumulated:
            self._accumulate(gradients, accumulated, (taken + 1) % accumulated == 0)
        else:
            self._update(gradients)
        if self._averages and optimizer.use_ema:
            updates, frequency = taken // (accumulated or 1), optimizer.ema_overwrite_frequency
            self._average((updates + 1) % frequency == 0 if frequency else False)
        for variable in constrained:
            variable.assign(variable.constraint(variable))

    def _all_that_changes(self):
        lists = (self._changed_by_step(), self._averages, self._averaged, self._all_accumulators)
        # Views of one memory are there once: those of the accumulators are among the states.
        return list({tensor.data_ptr(): tensor for one in lists for tensor in one}.values())

    def _changed_by_step(self):
        return [*self.parameters, *(view for view, _ in self._states), *self.more_state()]

    def _unscaled(self, gradients):
        factor = self.number("loss_scale_factor")
        if factor is not None:
            torch._foreach_div_(gradients, factor)
        return gradients

    def _update(self, gradients, skip=None):
        gradients, rate = self.clipped(gradients), self.rate()
        if skip is None or self.skips_itself:
            self._decay_and_step(gradients, rate, skip)
            return
        with unless(skip, self._changed_by_step()):
            self._decay_and_step(gradients, rate, None)

    def _decay_and_step(self, gradients, rate, skip):  # in this order, as Keras's `apply`
        if self.decay(rate, skip) and self._scheduled.is_asked():
            rate = self.rate()  # Keras asks for one to decay by and one to step by
        self.take_step(gradients, rate.to(self.dtype), skip)

    def take_step(self, gradients, rate, skip):
        """The optimizer's formula.

        Args:
            gradients: list of tensors, clipped; they may be written to.
            rate: 0-d tensor of the weights' dtype.
            skip: `None`, or with `skips_itself` a float32 tensor of one element: not 0 if nothing
                may change.
        """
        raise NotImplementedError

    def _accumulate(self, gradients, steps, is_last):
        """Takes a step on the mean of several batches' gradients, in the last of them."""
        if isinstance(is_last, torch.Tensor):  # then nobody here knows which batch it is
            mean = torch._foreach_add(gradients, self._accumulators)
            torch._foreach_div_(mean, steps)
            waits = (~is_last).to(torch.float32).view(1)
            self._update(mean, waits)
            torch._foreach_add_(self._accumulators, gradients)
            torch._foreach_mul_(self._all_accumulators, waits.view(()).to(self.dtype))
        elif is_last:
            torch._foreach_add_(gradients, self._accumulators)
            torch._foreach_div_(gradients, steps)
            self._update(gradients)
            torch._foreach_mul_(self._all_accumulators, 0.0)  # as in Keras: NaN stays
        else:
            torch._foreach_add_(self._accumulators, gradients)

    def _average(self, overwrites):
        """Takes the weights into their moving average, and the average over where it is time."""
        # The first update replaces the average, which Keras begins with zeros.
        moving = (self.updates_before() != 0).to(self.dtype) * self.number("ema_momentum")
        new = torch._foreach_mul(self._averaged, 1 - moving)
        torch._foreach_mul_(self._averages, moving)
        torch._foreach_add_(self._averages, new)
        if isinstance(overwrites, torch.Tensor):
            copy_where(overwrites, self._averaged, [a.clone() for a in self._averages])
        elif overwrites:
            torch._foreach_copy_(self._averaged, self._averages)

    def updates_before(self):
        """How many updates there have been, on the device; batches accumulated for one are one."""
        count = keras_variables.memory_of(keras_optimizers.iterations(self.optimizer))
        steps = self.optimizer.gradient_accumulation_steps
        return count // steps if steps else count

    def settings(self):
        constraints = tuple(
            (n, frozen(variable.constraint))
            for n, variable in enumerate(self._variables)
            if variable.constraint is not None
        )
        rate = keras_optimizers.schedule_of(self.optimizer)
        if isinstance(rate, keras.Variable):
            return *super().settings(), constraints
        if self._of_rate is None or self._of_rate[0] is not rate:
            self._of_rate = rate, Settings(rate)
        return *super().settings(), constraints, self._of_rate[1]()

    def why_no_graph(self):
        if any(variable.constraint is not None for variable in self._variables):
            return "constraints of weights"
        if self._scheduled.is_asked():
            return "a learning rate that is called in every step"
        for name, value in vars(self.optimizer).items():  # who writes to it tells nobody
            if isinstance(value, (keras.Variable, torch.Tensor)) and not name.startswith("_"):
                return f"{name} of the optimizer is kept in a tensor"
        return None

    def rate(self):
        """The learning rate, a 0-d tensor: a variable's, a schedule's or a function's."""
        kept = keras_optimizers.schedule_of(self.optimizer)
        if isinstance(kept, keras.Variable):
            return keras_variables.memory_of(kept).detach()
        rate = self._scheduled()
        if rate is None:
            rate = self.optimizer.learning_rate
        if isinstance(rate, torch.Tensor):
            return rate.detach()
        return torch.full((), float(rate), dtype=self.dtype, device=self.device)

    def decay(self, rate, skip):
        """Shrinks the weights that Keras's decoupled weight decay is for; whether it is on."""
        decay = self.changing("weight_decay")
        if decay is not None and (weights := self.decayed()):
            shrink(weights, 1 - factor_for(rate, decay) * rate, skip)
        return decay is not None


def shrink(weights, factor, skip):
    """Multiplies weights by a factor (a 0-d tensor), unless the step is skipped."""
    if skip is not None:
        factor = torch.where(skip.view(()) > 0, torch.ones_like(factor), factor)
    torch._foreach_mul_(weights, factor)


def _memories(optimizer, name):
    """The memories of all of an optimizer's state variables of a name."""
    variables = keras_optimizers.state_variables(optimizer, name)
    return [keras_variables.memory_of(variable) for variable in variables]


def may_be_taken_back(constraint):
    """Whether a constraint is Keras's, which has no more than its value to be taken back."""
    return constraint is None or type(constraint).__module__.startswith("keras.")
