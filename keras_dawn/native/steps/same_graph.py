"""Whether a model is still the graph of layers that was lowered."""

from keras_dawn.foundation import keras_layers, keras_models


class SameGraph:
    """A Functional or Sequential model as it is now, to know whether it has become another.

    Args:
        model: built `keras.Model`.
    """

    def __init__(self, model):
        self._model = model
        self._functional = keras_models.functional_graph(model)
        self._given = self._what_it_was_given()

    def holds(self):
        """Whether no layer was added, as an attribute too, or taken away, and no `call` put in."""
        if keras_models.functional_graph(self._model) is not self._functional:
            return False
        same = self._what_it_was_given() == self._given
        return same and keras_layers.is_only_its_call(self._model)

    def _what_it_was_given(self):
        inside = keras_layers.inner_layers(self._model)
        return [*inside, len(keras_layers.weights_to_train(self._model))]
