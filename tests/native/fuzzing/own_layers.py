"""Layers of one's own, each with something that a compiler of models may miss."""

import keras
from keras import layers, ops


class OwnWeight(layers.Layer):
    """A layer with a weight of its own."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


class InTraining(layers.Layer):
    """Branches on `training`."""

    def __init__(self, factor=1.5, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x, training=None):
        if training:
            return x * self.factor
        return x


class NoTraining(layers.Layer):
    """Has layers that do care about the mode, and a `call` without `training`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units, name="inner_dense")
        self.norm = layers.BatchNormalization(momentum=0.6, name="inner_norm")
        self.branch = InTraining(0.7, name="inner_branch")

    def build(self, shape):
        self.dense.build(shape)
        inner = (*shape[:-1], self.dense.units)
        self.norm.build(inner)

    def call(self, x):
        return self.branch(self.norm(self.dense(x)))


class PassesTraining(layers.Layer):
    """Hands another mode on to a layer inside."""

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode
        self.norm = layers.BatchNormalization(name="inner_norm")

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x, training=None):
        return self.norm(x, training=self.mode) + (0.1 * x if training else 0.0)


class InnerModel(keras.Model):
    """A subclassed model inside a model, with a list of layers."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(units, "tanh", name="first"), layers.BatchNormalization()]

    def build(self, shape):
        self.blocks[0].build(shape)
        self.blocks[1].build((*shape[:-1], self.blocks[0].units))

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x)
        return x * 1.2 if training else x


class Counts(layers.Layer):
    """Keeps a state that its own call changes in training."""

    def build(self, shape):
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="count", autocast=False
        )

    def call(self, x, training=None):
        if training:
            self.count.assign_add(1.0)
        return x * ops.cast(1.0 + 0.1 * ops.tanh(self.count.value), x.dtype)


class AddsLoss(layers.Layer):
    """Adds a loss in its call."""

    def call(self, x):
        self.add_loss(0.01 * ops.mean(ops.square(x)))
        return x


class Twins(layers.Layer):
    """Returns two tensors."""

    def call(self, x):
        return ops.tanh(x), x * 0.5


class Scaled(layers.Layer):
    """Python state that may change between two calls."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor
