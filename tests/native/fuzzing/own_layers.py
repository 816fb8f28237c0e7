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


class Held(layers.Layer):
    """Keeps layers in containers, and calls one of them only while it trains."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.parts = {
            "dense": [layers.Dense(units, kernel_regularizer="l2", name="held_dense")],
            "norm": layers.LayerNormalization(name="held_norm"),
            "extra": layers.Dense(units, "tanh", name="held_extra"),
        }

    def build(self, shape):
        inner = (*shape[:-1], self.parts["dense"][0].units)
        self.parts["dense"][0].build(shape)
        self.parts["norm"].build(inner)
        self.parts["extra"].build(inner)

    def call(self, x, training=None):
        for dense in self.parts["dense"]:
            x = dense(x)
        x = self.parts["norm"](x)
        return self.parts["extra"](x) if training else x


class Twice(layers.Layer):
    """Calls one layer two times, once without a gradient."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], "tanh", name="called_twice")
        self.norm = layers.BatchNormalization(momentum=0.8, name="norm_twice")
        self.dense.build(shape)
        self.norm.build(shape)

    def call(self, x):
        x = self.norm(self.dense(x))
        return x + ops.stop_gradient(self.norm(self.dense(x)))


class Gated(layers.Layer):
    """A Functional model and a Sequential inside a layer, multiplied."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        x = keras.Input(shape[1:])
        self.value = keras.Model(x, layers.LayerNormalization()(layers.Dense(self.units)(x)))
        gate = [keras.Input(shape[1:]), layers.Dense(self.units), layers.Activation("sigmoid")]
        self.gate = keras.Sequential(gate)

    def call(self, x):
        return self.value(x) * self.gate(x)


class HalfFrozen(layers.Layer):
    """Weights of its own with a constraint and a regularizer, and one that is not trained."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.regularizer = keras.regularizers.L1()  # made in `build` it may have no number

    def build(self, shape):
        size = (shape[-1],)
        self.scale = self.add_weight(
            shape=size, initializer="ones", constraint="non_neg", name="kept_positive"
        )
        self.shift = self.add_weight(shape=size, regularizer=self.regularizer, name="regularized")
        self.fixed = self.add_weight(shape=size, trainable=False, name="fixed")

    def call(self, x):
        return x * self.scale + self.shift + self.fixed


class OnlyTrained(layers.Layer):
    """Has weights that only the training mode reaches."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], name="only_trained")
        self.dense.build(shape)

    def call(self, x, training=False):
        if not training:
            return x
        return x + self.dense(x)


class MakesMask(layers.Layer):
    """Makes a mask out of the numbers, and reads one."""

    def compute_mask(self, x, mask=None):
        made = ops.any(ops.greater(x, -1.0), axis=-1)
        return made if mask is None else ops.logical_and(made, mask)

    def call(self, x, mask=None):
        return x if mask is None else x * ops.cast(mask, x.dtype)[..., None]


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
