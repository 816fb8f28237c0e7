"""Fused updates whose rates and decays differ by layer."""

import functools

from keras_dawn.optimizers.layerwise import multiplied


@functools.cache
def layerwise_form(form):
    """The class of updates that multiplies the steps of another one, of `Fused`."""

    class Layerwise(form):
        def __init__(self, optimizer, leaves):
            super().__init__(optimizer, leaves)
            variables = [leaf.variable for leaf in leaves]
            self._rates = self._by_leaf([optimizer.rate_of(v) for v in variables])
            self._decays = self._by_leaf([optimizer.decay_of(v) for v in variables])

        def _by_leaf(self, factors):
            """Weights whose factor is not 1, and these factors."""
            changed = [n for n, factor in enumerate(factors) if factor != 1.0]
            return [self.parameters[n].detach() for n in changed], [factors[n] for n in changed]

        def _decay_and_step(self, gradients, rate, skip):
            with multiplied(*self._rates):
                super()._decay_and_step(gradients, rate, skip)

        def decay(self, rate, skip):
            with multiplied(*self._decays):
                return super().decay(rate, skip)

    return Layerwise
