"""What forward passes have in common around which no CUDA graph is made."""

from keras_dawn.native.lowering.layouts import AS_IS, Leaf
from keras_dawn.native.steps.added_losses import AddedLosses

import keras


class EagerForward:
    """A forward pass that may lower more in a call, to the variables' own tensors.

    A subclass has `_call(x, training)`, which gives the outputs of a batch.

    Args:
        model: built `keras.Model`.
    """

    by_layer = by_sizes = False
    runs_python = adds_losses = True
    is_pure = False
    reduction = None  # `fit` does that, whose step may be the model's own
    needs_rehearsal = False
    training = evaluating = None
    outputs = None  # symbolic outputs are not known

    def __init__(self, model):
        self.model = model
        self._added = AddedLosses(model)
        self._leaves = []

    def lower_training(self):
        """Looks which weights are penalised; each part is lowered when it is called."""
        self._added = AddedLosses(self.model)

    def connect_training(self, whole):
        """Nothing, likewise."""

    def leaves(self):
        self._leaves = [Leaf(variable, AS_IS) for variable in self.model.trainable_variables]
        return self._leaves

    def has_its_tensors(self):
        """Whether nobody has given a variable that is trained another tensor."""
        return all(leaf.is_shared() for leaf in self._leaves)

    @property
    def adds_penalties(self):
        return self._added.penalties()

    def penalise(self, loss, scale):
        return self._added.penalise(loss, scale)

    def on_gpu(self):
        return False  # for what concerns graphs

    def graph_alone(self, alone):
        """Nothing: none is made."""

    def averages_in_graph(self):
        return False

    def release_graphs(self):
        """Nothing: there are none."""

    def inputs(self, x):
        return x

    def train(self, x):
        return self._call(x, True), (), _batch_size(x)

    def take_gradients(self):
        """Nothing: autograd has left them."""

    def evaluate(self, x):
        return self._call(x, False), _batch_size(x)


def _batch_size(x):
    return next(leaf for leaf in keras.tree.flatten(x) if leaf is not None).shape[0]
