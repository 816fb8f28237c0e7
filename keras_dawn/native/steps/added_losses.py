"""What layers and regularizers add to the loss of a model that is a graph."""

from keras_dawn.foundation import keras_losses, keras_variables
from keras_dawn.native.steps.penalties import Penalties
from keras_dawn.native.steps.special_weights import same, sort_out, special_weights


class AddedLosses:
    """Penalties on weights, computed here for many at once, and losses that only Keras knows.

    Args:
        model: built `keras.Model`.

    Attributes:
        views: variables whose own tensors have to get the gradients, not torch's view of them.
    """

    def __init__(self, model):
        self._model = model
        self._special = special_weights(model)
        self._penalised, self.views = sort_out(self._special, model)
        self._penalties = self._penalties_on({})

    def follow(self, leaves):
        """Looks the weights up anew, a layer may have been frozen since; puts penalties on leaves.

        Args:
            leaves: list of `Leaf`, those of the training graph.
        """
        if self._penalised:
            self._penalised = sort_out(special_weights(self._model), self._model)[0]
            self._penalties = self._penalties_on(
                {id(leaf.variable): leaf.tensor for leaf in leaves}
            )

    def _penalties_on(self, tensors):
        own = keras_variables.memory_of
        return Penalties(self._penalised, [tensors.get(id(v), own(v)) for v in self._penalised])

    def follow_memory(self):
        """Takes up tensors that have taken the place of weights' since, laid out anew."""
        if not self._penalties.are_on(list(map(keras_variables.memory_of, self._penalised))):
            self._penalties = self._penalties_on({})

    def penalties(self):
        """Whether there are penalties that Keras must not add."""
        return bool(self._penalised)

    def settings(self):
        """What adding them reads in every step."""
        return self._penalties.settings() if self._penalised else ()

    def are_current(self):
        """Whether the same weights are special, for the same reasons."""
        return same(special_weights(self._model), self._special)

    def added_to(self, loss, runs_python, layers=None, apart=False):
        """A loss with all that is added to it.

        Args:
            loss: tensor.
            runs_python: bool, whether Python of somebody's ran in the pass, which may add losses.
            layers: all layers of the model, or `None` to look for them.
            apart: bool, whether the penalties are left to `penalise`.
        """
        if not self._penalised or loss.ndim:  # Keras knows what to say of one that is not reduced
            return keras_losses.with_added_losses(self._model, loss)
        if runs_python:
            loss = keras_losses.with_added_losses_but_of(self._model, loss, self._penalised, layers)
        return loss if apart else self._penalties.added_to(loss)

    def penalise(self, loss, scale):
        """A loss with the penalties, whose gradients are added to those of the weights.

        Args:
            loss: 0-d tensor that was differentiated.
            scale: 0-d tensor that it was multiplied by before that, or `None`.
        """
        return loss + self._penalties.add_gradients(scale)
