"""A lowered graph outside training, with its copies of weights in half precision."""

from keras_dawn.native.steps.graph_calls import callable_of
from keras_dawn.native.steps.graph_inputs import structured
from keras_dawn.native.steps.half_weights import HalfWeights


class GraphEvaluation:
    """What computes a model's outputs outside training.

    Args:
        lowered: `Lowered`, the graph for evaluation.
        compile: bool, whether to `torch.compile` it.
        halve: bool, whether weights are cast once for many uses.

    Attributes:
        call: callable from the graph's inputs to what it computes.
        halves: `HalfWeights` or `None`.
    """

    def __init__(self, lowered, compile, halve):
        self._lowered = lowered
        # Before the callable, which is made of the module as it is then.
        self.halves = HalfWeights(lowered.module, False) if halve else None
        self.call = callable_of(lowered, compile)

    def refresh(self):
        """Casts the weights anew, which may have changed."""
        if self.halves is not None:
            self.halves.refresh()

    def structured(self, outputs):
        """What `call` gave, in the structure of the model's outputs, with their masks."""
        masks = ()
        if self._lowered.masked:
            outputs, _, *masks = outputs
        return structured(self._lowered, outputs, masks)
