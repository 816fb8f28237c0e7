"""Regularized weights: penalties and their gradients as plain Keras's."""

from unittest import mock

import keras_dawn
from keras_dawn.foundation import keras_losses

import keras
import numpy as np
import pytest
from keras import layers, losses, regularizers

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(24, 6, 6, 2)), RANDOM.integers(0, 3, size=24)


class Halves(regularizers.Regularizer):
    def __call__(self, x):
        return 0.5 * keras.ops.sum(keras.ops.absolute(x) ** 3)


class Adds(layers.Layer):
    """A layer that adds a loss of its own, and so is called as it is."""

    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(x**2))
        return x


def network(kinds, between=()):
    kinds = iter([*kinds, None, None, None])
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3, kernel_regularizer=next(kinds), bias_regularizer=next(kinds)),
            layers.BatchNormalization(gamma_regularizer=next(kinds)),
            layers.Flatten(),
            *(make() for make in between),
            layers.Dense(4, "tanh", kernel_regularizer=next(kinds)),
            layers.Dense(3, kernel_regularizer=next(kinds)),
        ]
    )


def sgd():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def train(build, native, change=None, loss=None, y=Y, optimizer=sgd):
    keras.utils.set_random_seed(1)
    model = build()
    loss = loss or losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss, metrics=["accuracy"])
    if native:
        keras_dawn.accelerate(model)
    settings = {"batch_size": 5, "verbose": 0}
    history = model.fit(X, y, epochs=2, shuffle=False, **settings).history
    if change:
        change(model)
        history |= {"later": model.fit(X, y, shuffle=False, **settings).history["loss"]}
    return model, [*history.values(), model.evaluate(X, y, **settings), *model.get_weights()]


def assert_alike(build, tolerance=1e-10, **arguments):
    ours, theirs = (train(build, native, **arguments) for native in (True, False))
    for one, other in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    return ours[0]


KINDS = {
    "L2": lambda: [regularizers.L2(0.03)] * 5,
    # The bias before the normalisation has no gradient but rounding, whose sign would decide.
    "L1": lambda: [regularizers.L1(0.02), None, *[regularizers.L1(0.02)] * 3],
    "both": lambda: [regularizers.L1L2(0.02, 0.03), "l2", None, regularizers.L1L2(0, 0.1), "l1"],
}


@pytest.mark.parametrize("kinds", KINDS)
def test_penalties_equal_plain_keras_without_it(kinds, true_float64):
    refused = dict.fromkeys(("with_added_losses", "compute_loss"), AssertionError)
    with mock.patch.multiple(keras_losses, **refused):
        model = train(lambda: network(KINDS[kinds]()), True)[0]
    assert keras_dawn.explain(model).is_whole()
    assert_alike(lambda: network(KINDS[kinds]()))


def test_penalties_in_float32():
    assert_alike(lambda: network(KINDS["both"]()), tolerance=2e-5)


@pytest.mark.parametrize("penalty", [regularizers.L1(1e-3), regularizers.L2(1e-3)])
def test_the_penalty_on_a_large_table_is_exact_in_float32(penalty):
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        table = layers.Embedding(40_000, 64, embeddings_regularizer=penalty)
        model = keras.Sequential([keras.Input((2,)), table, layers.Flatten(), layers.Dense(1)])
        model.compile("sgd", "mse")
        if native:
            keras_dawn.accelerate(model)
        batch = np.zeros((4, 2)), np.zeros((4, 1))
        found.append([model.evaluate(*batch, verbose=0), model.train_on_batch(*batch)])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_other_regularizers_and_added_losses_beside_them_are_keras_s(true_float64):
    def build():
        others = ["l2", Halves(), None, regularizers.OrthogonalRegularizer(0.1), "l1"]
        return network(others, between=[Adds])

    assert_alike(build)


def tightened(model):
    model.layers[0].kernel.regularizer.l2 = 0.3


def exchanged(model):
    model.layers[0].kernel.regularizer = regularizers.L1(0.1)


def frozen(model):
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.05), model.loss)


@pytest.mark.parametrize("change", [tightened, exchanged, frozen])
def test_what_is_changed_counts(change, true_float64):
    assert_alike(lambda: network(KINDS["L2"]()), change=change)


def test_a_loss_that_keras_computes_has_them_once(true_float64):
    broadcast = losses.MeanSquaredError()  # one target for three outputs: Keras's to pair
    assert_alike(lambda: network(KINDS["both"]()), loss=broadcast, y=Y[:, None])


class OwnLoss(keras.Sequential):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 2 * super().compute_loss(x, y, y_pred, sample_weight, training=training)


def test_a_compute_loss_of_one_s_own_gets_keras_s(true_float64):
    def build():
        return OwnLoss([*network(KINDS["both"]()).layers])

    assert_alike(build)


def test_several_outputs_have_them_too(true_float64):
    def build():
        inputs = keras.Input((6, 6, 2))
        flat = layers.Flatten()(inputs)
        heads = [layers.Dense(3, kernel_regularizer="l2", name=name)(flat) for name in "ab"]
        return keras.Model(inputs, heads)

    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = build()
        model.compile(keras.optimizers.SGD(0.05), ["mse", "mae"], loss_weights=[0.5, 2.0])
        if native:
            keras_dawn.accelerate(model)
        y = [np.eye(3)[Y], np.eye(3)[Y]]
        history = model.fit(X, y, batch_size=5, epochs=2, shuffle=False, verbose=0).history
        found.append([*history.values(), *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def no_longer_reduced(model):
    model.loss.reduction = "none"


def test_a_loss_that_is_not_reduced_is_keras_s_error():
    said = []
    for native in (True, False):
        with pytest.raises(RuntimeError) as error:
            train(lambda: network(KINDS["L2"]()), native, change=no_longer_reduced)
        said.append(str(error.value))
    assert said[0] == said[1]


class OwnPython(keras.Model):
    """A model whose `call` counts, with a layer that it has and does not use."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0
        self.unused = layers.Dense(2, use_bias=False, kernel_regularizer="l2")
        self.unused.build((None, 3))

    def call(self, x):
        self.calls += 1
        return self.network(x)


def own_python(kinds, **settings):
    model = OwnPython(network(kinds, **settings))
    model(X[:1])
    return model


@pytest.mark.parametrize("kinds", KINDS)
def test_a_model_with_python_of_its_own_has_them_too(kinds, true_float64):
    # What no output depends on is trained by its penalty alone.
    assert_alike(lambda: own_python(KINDS[kinds]()))


def test_a_model_with_python_of_its_own_has_keras_s_beside_them(true_float64):
    others = ["l2", Halves(), None, regularizers.OrthogonalRegularizer(0.1), "l1"]
    assert_alike(lambda: own_python(others, between=[Adds]))


def inner(change):
    return lambda model: change(model.network)


def thawed_anew(model):
    model.network.layers[0].trainable = False


@pytest.mark.parametrize("change", [inner(tightened), inner(exchanged), thawed_anew])
def test_what_is_changed_in_a_model_with_python_of_its_own_counts(change, true_float64):
    assert_alike(lambda: own_python(KINDS["L2"]()), change=change)


def test_weights_that_are_set_between_batches_are_penalised_as_they_are(true_float64):
    """Weights are laid out anew for torch by the first batch of an evaluation."""
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = own_python(KINDS["both"]())
        model.compile(sgd(), "sparse_categorical_crossentropy")
        if native:
            keras_dawn.accelerate(model)

        class Sets(keras.callbacks.Callback):
            def on_test_batch_end(self, batch, logs=None):
                self.model.set_weights([2 * weight for weight in self.model.get_weights()])

        found.append(model.evaluate(X, Y, batch_size=5, verbose=0, callbacks=[Sets()]))
    assert found[0] == pytest.approx(found[1], rel=1e-10)


OPTIMIZERS = {
    "a fixed scale": lambda: keras.optimizers.SGD(0.05, loss_scale_factor=8.0),
    "loss scaling": lambda: keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=64.0),
    "clipping": lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.5),
    "accumulation": lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("build", [network, own_python])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_their_gradients_are_scaled_clipped_and_accumulated(build, optimizer, true_float64):
    assert_alike(lambda: build(KINDS["both"]()), optimizer=OPTIMIZERS[optimizer])


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_model_that_only_penalties_train_is_trained(true_float64):
    def build():
        model = network(KINDS["L2"]())
        return keras.Sequential([*model.layers, layers.Lambda(lambda x: x.detach())])

    assert_alike(build)


class MakesItsRegularizerLate(layers.Layer):
    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), regularizer="l1", name="shift")

    def call(self, x):
        return x + self.shift


def test_a_factor_that_keras_lost_is_an_error():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.own = MakesItsRegularizerLate(name="own")

        def call(self, x):
            return self.own(x)

    model = Net()  # which `fit` builds from shapes
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    with pytest.raises(ValueError, match="regularizer of net/own/shift is not known"):
        model.fit(X, X, verbose=0)
