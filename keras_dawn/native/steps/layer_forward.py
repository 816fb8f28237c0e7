"""The forward pass of a model that keeps its Python: its own call, with native layers inside."""

from keras_dawn.foundation import keras_layers, keras_losses, keras_models, keras_variables
from keras_dawn.foundation.device import moved
from keras_dawn.native.steps.added_losses import AddedLosses
from keras_dawn.native.steps.by_layer import NativeLayers
from keras_dawn.native.steps.eager_forward import EagerForward
from keras_dawn.native.steps.layer_calls import EMPTY
from keras_dawn.native.steps.whole_call import WholeCall

import keras
import numpy as np
import torch


class LayerForward(EagerForward):
    """A model that keeps its Python: its own call, with layers that compute natively.

    Args:
        model: built `keras.Model`.
    """

    by_layer = True

    def __init__(self, model):
        super().__init__(model)
        self.layers = NativeLayers(model)
        self._find_whole_call()

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
        return self.has_its_tensors()  # each part looks at its settings when it is called

    def calls(self):
        return self.layers.in_place()

    def why_no_graph(self):
        return "Python of the user's, which would be frozen in it"

    def _find_whole_call(self):
        part = self.layers.whole()
        self._whole_call = None if part is None else WholeCall(self.model, part)

    def alone(self, x, undisturbed=False):
        """The outputs of a batch where no Python has to run for them, else `EMPTY`."""
        if self._whole_call is None:
            return EMPTY
        return self._whole_call(self._tensors(x), undisturbed)

    def _call(self, x, training):
        x = self._tensors(x)
        # Exactly what `Model.train_step` and `test_step` do: a `call` without the argument is
        # not told the mode.
        if keras_models.has_training_argument(self.model):
            return self.model(x, training=training)
        return self.model(x)

    def _tensors(self, x):
        """The batch as the model's `call` gets it, without NumPy's arrays, as of `train_on_batch`.

        Those of the host's are put on a GPU, where Keras would put them and wait for it.
        """
        # To look for arrays takes longer than to see that there is one tensor, as in most batches.
        if type(x) is not torch.Tensor and any(
            type(leaf) is np.ndarray for leaf in keras.tree.flatten(x)
        ):
            x = keras.tree.map_structure(self._tensor, x)
        if not torch.cuda.is_initialized():  # to list the variables takes longer
            return x
        device = next((keras_variables.memory_of(v).device for v in self.model.variables), None)
        if device is None or device.type != "cuda":
            return x
        return keras.tree.map_structure(
            lambda leaf: moved(leaf, device) if isinstance(leaf, torch.Tensor) else leaf, x
        )

    def _tensor(self, leaf):
        if type(leaf) is not np.ndarray or not keras_layers.converts_inputs(self.model):
            return leaf
        try:
            return keras.ops.convert_to_tensor(leaf)
        except TypeError:  # of a dtype that torch does not have: Keras's own call tries another
            return leaf

    def convolutions(self):
        """Which way each convolution went with the last batches."""
        return self.layers.convolutions()

    def native(self):
        return self.layers.native()

    def fallbacks(self):
        return self.layers.fallbacks()

    def why_own_call(self):
        return self.layers.why_own_call()

    def awaits_own_call(self):
        return self.layers.awaits_own_call()

    def uncalled(self):
        return self.layers.uncalled()
