"""Which layers and weights of a network are trainable, by groups, and as they were before."""

from keras_dawn.foundation.keras_layers import all_layers, inner_layers, weights_to_train

import keras


class GroupFreezing:
    """Freezes groups of layers, but never trains what the user has frozen.

    Layers inside others count by themselves, and so do single weights (`models.freeze`): Keras's
    `layer.trainable = True` would let all of them learn.

    Args:
        groups: lists of layers, from the input to the head (`LayerGroups.of`).
        batch_norm: what batch normalisation before the head does, `"train"` or `"keep"`.
    """

    def __init__(self, groups, batch_norm):
        self._groups, self._batch_norm = groups, batch_norm
        layers = {}
        for one in (one for group in groups for layer in group for one in all_layers(layer)):
            layers.pop(id(one), None)  # a layer in two others comes after both
            layers[id(one)] = one
        self._layers = [(layer, layer.trainable) for layer in layers.values()]
        self._weights = {
            id(weight): (weight, weight.trainable)
            for layer in layers.values()
            for weight in weights_to_train(layer)
        }

    def train(self, count):
        """Leaves the last `count` groups trainable."""
        self.restore()
        head = len(self._groups) - 1
        for place, group in enumerate(self._groups):
            for layer in group:
                self._set(layer, place > head - count, head=place == head)

    def restore(self):
        """Makes trainable what was so before, and nothing else."""
        for layer, trainable in self._layers:
            layer.trainable = trainable  # it says it to the layers inside, which come later
        for weight, trainable in self._weights.values():
            weight.trainable = trainable

    def _set(self, layer, trained, head):
        """Freezes what is not trained of a layer; returns whether anything in it is."""
        # As fastai's `train_bn`: batch normalisation learns in frozen groups too, as the moving
        # statistics it is tied to are those of the new images.
        if isinstance(layer, keras.layers.BatchNormalization) and not head:
            trained = self._batch_norm == "train"
        inside = [self._set(inner, trained, head) for inner in inner_layers(layer)]
        if not trained:
            for weight in weights_to_train(layer):
                weight.trainable = False
            if not any(inside):  # Keras lists no weights to train of a frozen layer
                layer.trainable = False
        return layer.trainable
