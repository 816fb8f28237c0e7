"""What the drawn programs may use besides Keras: data, layers, losses and steps of one's own."""

import keras
import numpy as np
import torch
from keras import layers, ops


class Noise:
    """How far the programs' numbers are pushed, relatively, to see how stable they are."""

    size = 0.0
    seed = 0


def _pushed(array, seed):
    if not Noise.size or array.dtype.kind != "f":
        return array
    random = np.random.default_rng((Noise.seed, seed))
    return (array * (1 + Noise.size * random.normal(size=array.shape))).astype(array.dtype)


def numbers(seed, *shape, dtype=None):
    """Normally distributed numbers."""
    values = np.random.default_rng(seed).normal(size=shape).astype(dtype or keras.config.floatx())
    return _pushed(values, seed)


def whole(seed, high, *shape, dtype="int64"):
    """Whole numbers from 0 to below `high`."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def one_hot(classes, count):
    """One-hot rows of class numbers."""
    return np.eye(count, dtype=keras.config.floatx())[classes]


def randomize(model, seed):
    """Gives every weight another value: zeros and ones hide mistakes."""
    random = np.random.default_rng(seed)
    for number, variable in enumerate(model.variables):
        if "float" not in variable.dtype or variable.name in ("mean", "variance"):
            continue
        shape = tuple(variable.shape)
        if any(part in variable.name for part in ("variance", "stddev")):
            value = random.uniform(0.5, 2.0, shape)
        else:
            value = keras.ops.convert_to_numpy(variable.value).astype("float64")
            value = value + 0.2 * random.normal(size=shape)
        variable.assign(_pushed(np.asarray(value), seed + number))


def adapted(layer, data):
    """A preprocessing layer that has seen its data."""
    layer.adapt(data)
    return layer


def halved(x):
    """An activation of one's own."""
    return x * 0.5


def cubic(x):
    """An activation that no rule knows."""
    return x - 0.1 * x**3


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


def squared(y_true, y_pred):
    """A loss function of one's own."""
    return ops.mean(ops.square(y_pred - ops.cast(y_true, y_pred.dtype)), axis=-1)


class Fourth(keras.losses.Loss):
    """A loss class of one's own."""

    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_pred - y_true) ** 1.5, axis=-1)


def closeness(y_true, y_pred):
    """A metric function of one's own."""
    return ops.mean(ops.exp(-ops.abs(y_pred - ops.cast(y_true, y_pred.dtype))), axis=-1)


class OwnTrainStep(keras.Model):
    """A train_step of one's own around Keras's."""

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "twice": 2 * logs["loss"]}


class OwnLoss(keras.Model):
    """A compute_loss of one's own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss * 1.5


class Batches(keras.utils.PyDataset):
    """Batches of a data set, some smaller than others."""

    def __init__(self, x, y, size):
        super().__init__()
        self.x, self.y, self.size = x, y, size
        self.count = len(keras.tree.flatten(x)[0])

    def __len__(self):
        return -(-self.count // self.size)

    def __getitem__(self, index):
        part = slice(index * self.size, (index + 1) * self.size)
        return keras.tree.map_structure(lambda array: array[part], (self.x, self.y))


class AtEpoch(keras.callbacks.Callback):
    """Does something when an epoch begins or ends."""

    def __init__(self, action, when="begin"):
        super().__init__()
        self.action, self.when = action, when

    def on_epoch_begin(self, epoch, logs=None):
        if self.when == "begin":
            self.action(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if self.when == "end":
            self.action(epoch)


class AtBatch(keras.callbacks.Callback):
    """Does something before every batch."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def on_train_batch_begin(self, batch, logs=None):
        self.action(batch)


class Logs(keras.callbacks.Callback):
    """Writes the logs of every batch and epoch into a list."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def on_train_batch_end(self, batch, logs=None):
        self.rows.append(dict(logs or {}))

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(dict(logs or {}))


def on_torch(data):
    """The same data as torch tensors."""
    return keras.tree.map_structure(torch.as_tensor, data)


def functional(function, *shape, name=None):
    """A Functional model of what a function does to a tensor without its batch axis."""
    x = keras.Input(shape)
    return keras.Model(x, function(x), name=name)


def the(model, name):
    """A layer by its name, at any depth."""
    return next(layer for layer in model._flatten_layers() if layer.name == name)
