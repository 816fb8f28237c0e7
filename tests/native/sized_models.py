"""Graphs whose layers ask a batch for its sizes."""

import keras
from keras import layers, ops

WORDS, WIDTH = 11, 8


class Token(layers.Layer):
    """A trained vector before each sequence, and a position's beside each of its vectors."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, WIDTH), name="token")
        self.places = layers.Embedding(40, WIDTH)
        self.places.build(())

    def call(self, x):
        batch, length, _ = ops.shape(x)
        token = ops.tile(self.token, (batch, 1, 1))
        x = ops.concatenate([ops.cast(token, x.dtype), x], axis=1)
        return x + self.places(ops.expand_dims(ops.arange(0, length + 1), 0))


class Mixing(layers.Layer):
    """Attention and a dense layer with what Python decides by the sizes."""

    def __init__(self, rate=0.0, **arguments):
        super().__init__(**arguments)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.norm, self.drop = layers.BatchNormalization(momentum=0.8), layers.Dropout(rate)

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build((None, shape[-1]))

    def call(self, x, training=None):
        batch, length, width = ops.shape(x)
        y = self.attention(x, x)
        if length > 6:
            y = 2.0 * y
        y = ops.reshape(y, (batch * length, width))
        y = self.norm(y, training=training)
        return x + self.drop(ops.reshape(y, (batch, length, width)), training=training)


def graph(*own, nested=False):
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH)(inputs)
    if nested:
        inner = keras.Input((None, WIDTH))
        y = inner
        for layer in own:
            y = layer(y)
        x = keras.Model(inner, y, name="inner")(x)
    else:
        for layer in own:
            x = layer(x)
    model = keras.Model(inputs, layers.Dense(3)(x[:, 0]))
    model.compile(
        keras.optimizers.SGD(0.0625, momentum=0.875),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


class Few(layers.Layer):
    """Uses a weight in batches of fewer than four sequences only."""

    def build(self, shape):
        self.extra = layers.Dense(WIDTH)
        self.extra.build(shape)

    def call(self, x):
        return x + self.extra(x) if ops.shape(x)[0] < 4 else 2.0 * x


class Doubled(layers.Layer):
    """Twice its input, by way of the sizes of the batch."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.supports_masking = True

    def call(self, x):
        batch, length, width = ops.shape(x)
        return ops.reshape(2.0 * ops.reshape(x, (batch * length, width)), (batch, length, width))


class AddingOutsideTraining(layers.Layer):
    def call(self, x, training=None):
        batch, length, width = ops.shape(x)
        if not training:
            self.add_loss(ops.mean(ops.square(x)))
        return ops.reshape(ops.reshape(x, (batch * length, width)), (batch, length, width))


class Cubes(keras.regularizers.Regularizer):
    """A regularizer of a user's."""

    def __call__(self, weight):
        return 0.1 * ops.sum(ops.abs(weight) ** 3)


def in_a_row():
    model = keras.Sequential([keras.Input((None, 3)), Doubled(), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.0625), "mse")
    return model
