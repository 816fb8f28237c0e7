"""Draws of `keras.random` in Python of one's own, lowered with the layers around them."""

import keras_dawn
from keras_dawn.foundation import keras_random
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

DRAWS = {
    "normal": lambda x, seed: keras.random.normal(ops.shape(x), 1.0, 2.0, seed=seed),
    "uniform": lambda x, seed: keras.random.uniform(ops.shape(x), -1, 3.0, seed=seed),
    "one": lambda x, seed: keras.random.uniform((), seed=seed),
    "paths": lambda x, seed: ops.floor(keras.random.uniform((ops.shape(x)[0], 1), seed=seed) + 0.5),
    "half": lambda x, seed: keras.random.normal((4,), dtype="float16", seed=seed),
    "truncated": lambda x, seed: keras.random.truncated_normal(x.shape, 0.5, 0.1, seed=seed),
    "whole": lambda x, seed: ops.cast(keras.random.randint(ops.shape(x), 0, 9, seed=seed), x.dtype),
    "dropout": lambda x, seed: keras.random.dropout(x, 0.4, seed=seed),
    "dropped rows": lambda x, seed: keras.random.dropout(x, 0.4, (None, 1), seed=seed),
}
SEEDS = {
    "generator": lambda: keras.random.SeedGenerator(3),
    "unseeded generator": lambda: keras.random.SeedGenerator(),
    "number": lambda: -5,
    "none": lambda: None,
}


class Noisy(layers.Layer):
    """A sum of what comes in and a draw, in training and out of it."""

    def __init__(self, draw, seed):
        super().__init__()
        self.draw, self.seed = draw, seed
        self.seed_generator = keras.random.SeedGenerator(7)
        self.dense = layers.Dense(4)

    def call(self, x):
        return self.dense(x) + self.draw(x, self.seed)


class Sampling(layers.Layer):
    """The reparametrisation of variational autoencoders."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        mean, log_variance = inputs
        shape = (ops.shape(mean)[0], ops.shape(mean)[1])
        noise = keras.random.normal(shape, seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class Branches(layers.Layer):
    """Draws whose order is not the order in which the results are used; one goes unused."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dropout(0.5), layers.Dropout(0.5)
        self.seed_generator = keras.random.SeedGenerator(2)

    def call(self, x, training=None):
        one = keras.random.normal(ops.shape(x), seed=self.seed_generator)
        two = keras.random.normal(ops.shape(x), seed=self.seed_generator)
        a = self.first(x, training=training)
        b = self.second(x, training=training)
        return 3.0 * b - a + 5.0 * two - one, keras.random.dropout(x + one, 0.5)


def sampled(seed=0):
    keras.utils.set_random_seed(seed)
    x = keras.Input((6,))
    h = layers.Dense(8, "relu")(x)
    z = Sampling()([layers.Dense(3)(h), layers.Dense(3)(h)])
    model = keras.Model(x, layers.Dense(6)(z))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def begin(model, state):
    """Every generator where it was: the layers', Keras's own and torch's."""
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(value)
    keras.utils.set_random_seed(11)


def both_ways(make, x):
    """What three calls return, and every generator's state after them, plainly and natively."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, make()(inputs))
    state = [variable.numpy() for variable in model.non_trainable_variables]

    def run(functions):
        begin(model, state)
        with torch.no_grad():
            outputs = [keras.tree.flatten(function(x)) for function in functions]
        after = [variable.numpy().tolist() for variable in model.non_trainable_variables]
        return outputs, after, keras_random.global_seed(), torch.rand(1)

    modes = (True, True, False)
    lowered = [lower(model, mode) for mode in modes]
    assert all(one.fallbacks == [] for one in lowered)
    plain = run([lambda x, mode=mode: model(x, training=mode) for mode in modes])
    return plain, run([one.module for one in lowered]), lowered


def assert_same(plain, native):
    for ours, theirs in zip(native[0], plain[0], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
    assert native[1] == plain[1]
    assert (native[2] is None) == (plain[2] is None)
    assert native[2] is None or torch.equal(native[2], plain[2])
    assert torch.equal(native[3], plain[3])


CASES = [(draw, "generator") for draw in DRAWS]
CASES += [(draw, seed) for draw in ("uniform", "dropout") for seed in list(SEEDS)[1:]]
CASES += [("dropped rows", "none"), ("dropped rows", "unseeded generator")]


@pytest.mark.parametrize(("draw", "seed"), CASES)
def test_the_numbers_are_those_that_keras_draws(draw, seed):
    plain, native, lowered = both_ways(
        lambda: Noisy(DRAWS[draw], SEEDS[seed]()), torch.randn(40, 4)
    )
    assert_same(plain, native)
    again = torch.equal(plain[0][0][0], plain[0][1][0])
    assert again == (seed == "number")
    assert lowered[0].changes_state or "dropout" in draw


def test_draws_fall_in_the_order_of_the_python():
    plain, native, _ = both_ways(Branches, torch.randn(5, 4))
    assert_same(plain, native)


def test_a_result_that_the_model_does_not_use_is_drawn():
    class First(layers.Layer):
        def __init__(self):
            super().__init__()
            self.branches = Branches()

        def call(self, x, training=None):
            return self.branches(x, training=training)[0]

    def make():
        first = First()
        return lambda x: keras.Sequential([first, layers.Dropout(0.5)])(x)

    plain, native, _ = both_ways(make, torch.randn(5, 4))
    assert_same(plain, native)


def test_a_training_with_samples_equals_plain_keras_which_goes_on_from_it():
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    plain, native = sampled(), keras_dawn.accelerate(sampled())
    for model in (plain, native):
        model.fit(x, x, batch_size=16, epochs=2, shuffle=False, verbose=0)
    found = keras_dawn.explain(native)
    assert found.is_whole() and found.layers["Sampling"] == 1
    for _ in range(2):
        ours, theirs = native.predict(x, verbose=0), plain.predict(x, verbose=0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    keras_dawn.restore(native)
    ours, theirs = native.predict(x, verbose=0), plain.predict(x, verbose=0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for one, other in zip(native.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


class OwnModel(keras.Model):
    """A model by layer whose `train_step` is its own."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread = layers.Dense(3), layers.Dense(3)
        self.sample, self.out = Sampling(), layers.Dense(6)

    def call(self, x):
        return self.out(self.sample([self.mean(x), self.spread(x)]))

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(x, y, self(x, training=True))
        loss.backward()
        gradients = [v.value.grad for v in self.trainable_weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}


def test_an_own_train_step_draws_the_same():
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")

    def trained(native):
        keras.utils.set_random_seed(0)
        model = OwnModel()
        model(x[:2])
        model.compile("adam", "mse")
        if native:
            keras_dawn.accelerate(model)
        model.fit(x, x, batch_size=16, epochs=3, shuffle=False, verbose=0)
        return model

    plain, native = trained(False), trained(True)
    assert keras_dawn.explain(native).fallbacks == []
    for one, other in zip(native.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_inputs_of_several_batch_sizes_are_refused():
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = keras.Model(inputs, Sampling()(inputs))
    with pytest.raises(ValueError, match="one batch size"):
        lower(model, True).module(torch.randn(1, 4), torch.randn(3, 4))


def test_a_shape_that_follows_more_than_the_batch_is_lowered_for_each_kind_of_batch():
    class Twice(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(2)

        def call(self, x):
            return x + keras.random.normal((ops.shape(x)[1],), seed=self.seed_generator)[:, None]

    inputs = keras.Input((None, 4))
    layer = Twice()
    model = keras.Model(inputs, layer(inputs))
    lowered = lower(model, True)
    assert [one for one, _ in lowered.fallbacks] == [layer]
    x, state = torch.randn(2, 5, 4), layer.seed_generator.state
    first = lowered.module(x)
    state.assign([2, 0])
    assert torch.equal(first, model(x))


def test_stochastic_depth_draws_from_the_generator_of_keras():
    from keras.src.applications.convnext import StochasticDepth

    plain, native, lowered = both_ways(lambda: StochasticDepth(0.5), torch.randn(9, 3, 3, 2))
    assert_same(plain, native)
    assert not torch.equal(plain[0][0][0], plain[0][1][0])
    assert [low.changes_state for low in lowered] == [True, True, False]
