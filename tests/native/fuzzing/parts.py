"""What the drawn programs may use besides Keras: data, losses, steps and callbacks."""

import copy  # noqa: F401  (for programs)

import keras
import numpy as np
from keras import ops

from tests.native.fuzzing.noise import pushed_array
from tests.on_device import torch


def numbers(seed, *shape, dtype=None):
    """Normally distributed numbers."""
    values = np.random.default_rng(seed).normal(size=shape).astype(dtype or keras.config.floatx())
    return pushed_array(values, seed)


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
        variable.assign(pushed_array(np.asarray(value), seed + number))


def adapted(layer, data):
    """A preprocessing layer that has seen its data."""
    layer.adapt(data)
    return layer


def built(layer, *shape):
    """A layer that is built before a model calls it, for examples of a shape."""
    layer.build((None, *shape))
    return layer


def halved(x):
    """An activation of one's own."""
    return x * 0.5


def cubic(x):
    """An activation that no rule knows."""
    return x - 0.1 * x**3


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


class OwnUpdate(keras.optimizers.SGD):
    """An optimizer of one's own, made of Keras's."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * 0.7, variable, learning_rate)


class Batches(keras.utils.PyDataset):
    """Batches of a data set, some smaller than others; weights of samples may follow x and y."""

    def __init__(self, x, y, size, *weights):
        super().__init__()
        self.data, self.size = (x, y, *weights), size
        self.count = len(keras.tree.flatten(x)[0])

    def __len__(self):
        return -(-self.count // self.size)

    def __getitem__(self, index):
        part = slice(index * self.size, (index + 1) * self.size)
        return keras.tree.map_structure(lambda array: array[part], self.data)


def generated(x, y, size):
    """A Python generator of batches that does not end."""
    batches = Batches(x, y, size)
    while True:
        for number in range(len(batches)):
            yield batches[number]


def loader(x, y, size):
    """A torch DataLoader of one input and one output."""
    data = torch.utils.data.TensorDataset(torch.as_tensor(x), torch.as_tensor(y))
    return torch.utils.data.DataLoader(data, batch_size=size)


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
