"""Classes of one's own that say how a layer of Keras's is made, and no more, or do more."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch


class Conv3x3(layers.Conv2D):
    """A layer with settings of its own, as projects have them."""

    def __init__(self, filters, **settings):
        super().__init__(filters, 3, padding="same", activation="relu", **settings)
        self.note = "of one's own"

    def area(self):
        return self.kernel_size[0] * self.kernel_size[1]


@keras.saving.register_keras_serializable("test_subclassed_keras_layers")
class Series(layers.LSTM):
    OF_ALL = 4

    def __init__(self, **settings):
        settings.pop("units", None)
        super().__init__(Series.OF_ALL, **settings)


class Doubled(layers.Dense):
    def call(self, x):
        return 2.0 * super().call(x)


class Called(layers.Dense):
    def __call__(self, x, *args, **kwargs):
        return super().__call__(x, *args, **kwargs) + 1.0


class Mixin:
    def call(self, x):
        return ops.tanh(ops.matmul(x, self.kernel) + self.bias)


class Mixed(Mixin, layers.Dense):
    pass


class CallsOtherwise(layers.Layer):
    def __call__(self, x, *args, **kwargs):
        return super().__call__(x, *args, **kwargs) + 1.0


class Behind(layers.Dense, CallsOtherwise):
    """What is mixed in comes after Keras's class, and before the bases of that."""


class Turned(layers.Dense):
    @property
    def kernel(self):
        return -1.0 * self._kernel


class Counts(layers.Dense):
    """Its `activation` is another one each time it is asked for."""

    @property
    def activation(self):
        self.asked += 1
        return keras.activations.tanh if self.asked % 3 else keras.activations.linear

    @activation.setter
    def activation(self, value):
        object.__setattr__(self, "asked", 0)


class Masked(layers.Dense):
    def compute_mask(self, inputs, mask=None):
        return None


def inside(layer):
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def build(self, shape):
            self.layer.build(shape)

        def call(self, x):
            return self.layer(x) + 0.5

    return Block()


NATIVE = {
    "convolution": ((6, 6, 3), lambda: Conv3x3(4)),
    "recurrent": ((5, 3), lambda: Series(return_sequences=True)),
    "both directions": ((5, 3), lambda: layers.Bidirectional(Series(return_sequences=True))),
    "over time": ((5, 3), lambda: layers.TimeDistributed(type("Own", (layers.Dense,), {})(4))),
    "in a layer of one's own": ((6, 6, 3), lambda: inside(Conv3x3(4))),
}
OTHERS = {
    "own call": ((3,), lambda: Doubled(4)),
    "own __call__": ((3,), lambda: Called(4)),
    "mixed in": ((3,), lambda: Mixed(4)),
    "mixed in behind": ((3,), lambda: Behind(4)),
    "own property": ((3,), lambda: Turned(4)),
    "counts": ((3,), lambda: Counts(4)),
    "own masks": ((5, 3), lambda: Masked(4)),
}


def trained(shape, make, accelerate, between=lambda layer: None):
    keras.utils.set_random_seed(0)
    series = len(shape) == 2
    around = [[layers.Masking()], [layers.LSTM(3)]] if series else [[], [layers.Flatten()]]
    model = keras.Sequential([keras.Input(shape), *around[0], make(), *around[1], layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    if accelerate:
        keras_dawn.accelerate(model)
    generator = np.random.default_rng(0)
    x, found = generator.normal(size=(24, *shape)), []
    y = generator.normal(size=(24, *model.output_shape[1:]))
    for _ in range(2):
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        found += [*model.get_weights(), model.predict(x, verbose=0)]
        between(model.layers[0])
    return found, model


@pytest.mark.filterwarnings("ignore:Layer '.*was passed an input with a mask")
@pytest.mark.parametrize("case", [*NATIVE, *OTHERS])
def test_they_compute_as_in_plain_keras(case, true_float64):
    shape, make = {**NATIVE, **OTHERS}[case]
    (plain, _), (ours, model) = (trained(shape, make, way) for way in (False, True))
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    if case in NATIVE:
        assert keras_dawn.explain(model).fallbacks == []


@pytest.mark.parametrize("name", ["call", "__call__"])
def test_a_call_that_the_class_is_given_later_counts(name, true_float64):
    def call(self, x, training=None):
        return ops.sin(ops.matmul(x, self.kernel) + self.bias)

    def __call__(self, *args, **kwargs):  # noqa: N807
        return ops.sin(layers.Layer.__call__(self, *args, **kwargs))

    def with_another(layer):
        setattr(type(layer), name, call if name == "call" else __call__)

    results = []
    for way in (False, True):
        kind = type("Own", (layers.Dense,), {"__module__": __name__})
        found, _ = trained((3,), lambda kind=kind: kind(4), way, between=with_another)
        results.append(found)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Lion", "Adafactor", "Muon"])
def test_an_optimizer_that_is_only_made_in_another_way_is_fused(name, true_float64):
    class Own(getattr(keras.optimizers, name)):
        def __init__(self, learning_rate=0.01, **settings):
            super().__init__(learning_rate, clipnorm=1.0, **settings)

    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8, "tanh"), layers.Dense(3)])
        model.compile(Own(), "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        generator = np.random.default_rng(0)
        x, y = generator.normal(size=(24, 8)), generator.normal(size=(24, 3))
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        results.append([*model.get_weights(), *(v.numpy() for v in model.optimizer.variables)])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)
    assert keras_dawn.explain(model).optimizer == "native"
