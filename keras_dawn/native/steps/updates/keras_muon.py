"""Muon, in Keras's form."""

import functools

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.native.steps.updates.adam import BetaPowers, adam_step
from keras_dawn.native.steps.updates.fused import Fused, shrink
from keras_dawn.native.steps.updates.numbers import add_, factor_for, scale_

import torch


class KerasFormMuon(Fused):
    """`keras.optimizers.Muon`: matrices of one shape are made orthogonal at once, others by Adam.

    The matrices are Keras's, whose rows and columns are those of the variables.
    """

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        first = self.state("momentums")
        velocities = keras_optimizers.state_variables(optimizer, "adam_velocities")
        by_adam = [velocities[place] is not None for place in self._places]
        self._adam = [number for number, which in enumerate(by_adam) if which]
        self._first = [first[number] for number in self._adam]
        self._second = self.state("adam_velocities", self._adam)
        self._beta_powers = BetaPowers(self)
        self._matrices = {}
        momenta = keras_optimizers.state_variables(optimizer, "momentums")
        for number, which in enumerate(by_adam):
            if not which:
                weight = keras_variables.memory_of(leaves[number].variable)
                momentum = keras_variables.memory_of(momenta[self._places[number]])
                same = self._matrices.setdefault(tuple(weight.shape), ([], [], []))
                for part, item in zip(same, (number, weight, momentum), strict=True):
                    part.append(item)

    def to_decay(self):
        """Lists of parameters, by the setting that they are decayed by."""
        optimizer = self.optimizer
        return {
            name: [
                leaf.tensor
                for leaf in self.leaves
                if keras_optimizers.uses_weight_decay(optimizer, leaf.variable)
                and keras_optimizers.muon_steps_as_adam(optimizer, leaf.variable) == adam
            ]
            for name, adam in (("adam_weight_decay", True), ("weight_decay", False))
        }

    def decay(self, rate, skip):
        for name, weights in self.decayed().items():
            decay = self.changing(name)
            if decay is not None and weights:
                shrink(weights, 1 - factor_for(rate, decay) * rate, skip)

    def take_step(self, gradients, rate, skip):
        if self._adam:
            betas = self.changing("adam_beta_1"), self.changing("adam_beta_2")
            adam_step(
                [self.parameters[number] for number in self._adam],
                (self._first, self._second),
                [gradients[number] for number in self._adam],
                rate * self.number("adam_lr_ratio"),
                betas,
                self._beta_powers(betas),
                self.number("epsilon"),
            )
        gradients = self.in_keras_shapes(gradients)
        for shape, (numbers, weights, momenta) in self._matrices.items():
            own = [gradients[number] for number in numbers]
            steps = self._orthogonal(torch.stack(self._directions(own, momenta))) * rate
            if self.optimizer.rms_rate is not None:
                steps = steps * _root(max(shape)) * self.number("rms_rate")
            torch._foreach_sub_(weights, list(steps.unbind()))

    def _directions(self, gradients, momenta):
        momentum = self.changing("momentum")
        scale_(momenta, momentum)
        torch._foreach_add_(momenta, gradients)
        if not self.optimizer.nesterov:
            return momenta
        ahead = [gradient.clone() for gradient in gradients]
        add_(ahead, momenta, momentum)
        return ahead

    def _orthogonal(self, matrices):
        """Keras's Newton-Schulz iteration for matrices `(count, rows, columns)`."""
        a, b, c = map(self.number, ("muon_a", "muon_b", "muon_c"))
        tall = matrices.shape[-2] > matrices.shape[-1]  # the smaller of the two products x xᵀ
        x = matrices.mT if tall else matrices
        # Singular values of at most 1, where the iteration converges; 1e-7 is Keras's.
        x = x / (torch.linalg.norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
        for _ in range(self.optimizer.ns_steps):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.mT if tall else x


@functools.cache
def _root(size):
    """The root of a whole number, which Keras takes in float32 whatever the weights are."""
    return float(torch.tensor(size, dtype=torch.int32).sqrt())
