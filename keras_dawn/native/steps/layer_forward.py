"""The forward pass of a model that keeps its Python: its own call, with native layers inside."""

from keras_dawn.foundation import keras_losses, keras_models, keras_variables
from keras_dawn.foundation.device import moved
from keras_dawn.native.lowering.layouts import AS_IS, Leaf
from keras_dawn.native.steps.added_losses import AddedLosses
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.whole_call import WholeCall

import keras
import torch


class LayerForward:
    """A model that keeps its Python: its own call, with layers that compute natively.

    Args:
        model: built `keras.Model`.
    """

    by_layer = True
    by_sizes = False
    runs_python = adds_losses = True
    is_pure = False
    reduction = None  # `fit` does that, whose step may be the model's own
    needs_rehearsal = False
    training = evaluating = None
    outputs = None  # symbolic outputs are not known

    def __init__(self, model):
        self.model = model
        self.layers = NativeLayers(model)
        self._added = AddedLosses(model)
        self._find_whole_call()

    def lower_training(self):
        """Looks which weights are penalised; each part is lowered when it is called."""
        self._added = AddedLosses(self.model)

    def connect_training(self, whole):
        """Nothing, likewise."""

    def leaves(self):
        return [Leaf(variable, AS_IS) for variable in self.model.trainable_variables]

    @property
    def adds_penalties(self):
        return self._added.penalties()

    def penalise(self, loss, scale):
        return self._added.penalise(loss, scale)

    def with_added_losses(self, loss, apart=False):
        layers = self.layers.all if self.layers.complete else None
        if not self._added.penalties():
            sure = None if self.layers.regularized else layers
            return keras_losses.with_added_losses(self.model, loss, sure)
        self._added.follow_memory()
        return self._added.added_to(loss, True, layers, apart)

    def is_complete(self):
        return not self.layers.found_more()

    def is_current(self):
        self.layers.refresh()
        self._find_whole_call()
        if not self._added.are_current():
            self._added = AddedLosses(self.model)
        return True  # each part looks at its settings when it is called

    def calls(self):
        return self.layers.in_place()

    def why_no_graph(self):
        return "Python of the user's, which would be frozen in it"

    def on_gpu(self):
        return False  # for what concerns graphs

    def graph_alone(self, alone):
        """Nothing: no graph is made around Python."""

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

    def _find_whole_call(self):
        part = self.layers.whole()
        self._whole_call = None if part is None else WholeCall(self.model, part)

    def alone(self, x, undisturbed=False):
        """The outputs of a batch where no Python has to run for them, else `EMPTY`."""
        if self._whole_call is None:
            return EMPTY
        return self._whole_call(self._moved(x), undisturbed)

    def _call(self, x, training):
        x = self._moved(x)
        # Exactly what `Model.train_step` and `test_step` do: a `call` without the argument is
        # not told the mode.
        if keras_models.has_training_argument(self.model):
            return self.model(x, training=training)
        return self.model(x)

    def _moved(self, x):
        """Tensors of the host's on a GPU, where Keras would put them and wait for it."""
        if not torch.cuda.is_initialized():  # to list the variables takes longer
            return x
        device = next((keras_variables.memory_of(v).device for v in self.model.variables), None)
        if device is None or device.type != "cuda":
            return x
        return keras.tree.map_structure(
            lambda leaf: moved(leaf, device) if isinstance(leaf, torch.Tensor) else leaf, x
        )

    def convolutions(self):
        """Which way each convolution went with the last batches."""
        return self.layers.convolutions()

    def native(self):
        return self.layers.native()

    def fallbacks(self):
        return self.layers.fallbacks()

    def why_own_call(self):
        return self.layers.why_own_call()

    def uncalled(self):
        return self.layers.uncalled()


def _batch_size(x):
    return next(leaf for leaf in keras.tree.flatten(x) if leaf is not None).shape[0]
