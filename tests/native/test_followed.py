"""What may change, or be put around a model, at any moment: an accelerated model follows it."""

import types

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(20, 4)), RANDOM.normal(size=(20, 3))
FIT = {"batch_size": 5, "epochs": 3, "shuffle": False, "verbose": 0}


def network(loss="mse"):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, name="dense"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Dense(3, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss)
    return model


def follows(use, make=network):
    """Holds what `use(model)` returns, and the weights, against plain Keras."""
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        model = make()
        if native:
            keras_dawn.accelerate(model)
        result = use(model)
        found.append([np.asarray(x, "float64") for x in keras.tree.flatten(result)])
        found[-1] += [v.numpy() for v in model.variables]
    assert len(found[0]) == len(found[1])
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-12)


def losses(model, **arguments):
    return model.fit(X, Y, **FIT, **arguments).history["loss"]


def head(model):
    return model.get_layer("head")


def at(event, change):
    """A callback that calls `change(model, number)` at an event."""

    def called(self, number=0, logs=None):
        change(self.model, number)

    return type("At", (keras.callbacks.Callback,), {event: called})()


def test_a_loss_that_reads_a_kernel(true_float64):
    def make():
        model = network()
        kernel = model.get_layer("dense").kernel

        def loss(y, outputs):
            return ops.mean(ops.square(y - outputs)) + 0.5 * ops.sum(ops.square(kernel))

        model.compile("sgd", loss)
        return model

    follows(losses, make)


def test_a_kernel_tied_by_a_lambda(true_float64):
    def make():
        dense = layers.Dense(3)
        inputs = keras.Input((4,))
        back = layers.Lambda(lambda t: ops.matmul(t, ops.transpose(dense.kernel)))
        model = keras.Model(inputs, layers.Dense(3)(back(dense(inputs))))
        model.compile("sgd", "mse")
        return model

    follows(losses, make)


def own_model():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.part = layers.Dense(4, name="dense")
            self.graph = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense2")])

        def call(self, x):
            return self.graph(ops.tanh(self.part(x)))

    model = Net()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("make", [network, own_model])
def test_hooks_of_all_modules(make, first, true_float64):
    def hook(module, inputs, outputs):
        return 3 * outputs if getattr(module, "name", "").startswith("dense") else None

    def use(model):
        results = [] if first else [losses(model)]
        handle = torch.nn.modules.module.register_module_forward_hook(hook)
        try:
            results += [losses(model), model.predict(X, verbose=0)]
        finally:
            handle.remove()
        return [*results, losses(model)]

    follows(use, make)


def test_hooks_and_methods_put_on_one_model(true_float64):
    def hooked(model):
        model.register_forward_hook(lambda module, inputs, outputs: 3 * outputs)
        return losses(model)

    def stepped(model):
        def train_step(self, data):
            return keras.Model.train_step(self, (data[0], 2 * data[1]))

        model.train_step = types.MethodType(train_step, model)
        return losses(model)

    def weighed(model):
        model.get_layer("dense").kernel.value.register_hook(lambda gradient: 0.1 * gradient)
        return losses(model)

    for use in (hooked, stepped, weighed):
        follows(use)


class Tripled(keras.Model):
    def __call__(self, *args, **kwargs):
        return 3 * super().__call__(*args, **kwargs)


@pytest.mark.parametrize("nested", [False, True])
def test_a_class_with_a_call_of_its_own(nested, true_float64):
    def make():
        inputs = keras.Input((4,))
        model = Tripled(inputs, layers.Dense(3)(inputs))
        if nested:
            model = keras.Sequential([keras.Input((4,)), model, layers.Dense(3)])
        model.compile("sgd", "mse")
        return model

    follows(losses, make)


@pytest.mark.parametrize(
    "change",
    [
        lambda m, _: setattr(head(m).kernel, "regularizer", keras.regularizers.L2(1.0)),
        lambda m, _: setattr(head(m).kernel, "constraint", keras.constraints.MaxNorm(0.1)),
        lambda m, n: n == 1 and setattr(m, "optimizer", keras.optimizers.SGD(0.01)),
        lambda m, n: setattr(m.get_layer("norm"), "momentum", 0.3 * n),
        lambda m, n: setattr(m.get_layer("relu"), "negative_slope", 0.2 * n),
    ],
    ids=["regularizer", "constraint", "optimizer", "momentum", "slope"],
)  # fmt: skip
@pytest.mark.parametrize("event", ["on_epoch_begin", "on_epoch_end", "on_train_batch_begin"])
def test_changes_by_callbacks(change, event, true_float64):
    follows(lambda model: losses(model, callbacks=[at(event, change)]))


def test_a_change_before_a_prediction_within_a_fit(true_float64):
    def change(model, number):
        model.get_layer("relu").negative_slope = 0.5
        model.predict(X, verbose=0)

    follows(lambda model: losses(model, callbacks=[at("on_epoch_end", change)]))


def test_a_change_when_an_evaluation_begins(true_float64):
    def change(model, _):
        model.get_layer("relu").negative_slope = 0.5

    follows(
        lambda model: (
            losses(model), model.evaluate(X, Y, verbose=0, callbacks=[at("on_test_begin", change)])
        )
    )  # fmt: skip


def test_layers_added_to_a_sequential_and_taken_away(true_float64):
    def use(model):
        first = model.predict(X, verbose=0)
        model.add(layers.ReLU())
        second = model.predict(X, verbose=0)
        model.pop()
        return first, second, model.predict(X, verbose=0)

    follows(use)


def test_a_normalisation_shared_with_a_larger_model(true_float64):
    def use(small):
        norm = small.get_layer("norm")
        inputs = keras.Input((4,))
        hidden = layers.BatchNormalization()(
            layers.Dense(4)(norm(small.get_layer("dense")(inputs)))
        )
        large = keras.Model(inputs, layers.Dense(3)(hidden))
        large.compile("sgd", "mse")
        if "fit" in vars(small):
            keras_dawn.accelerate(large)
        return losses(small), losses(large), losses(small)

    follows(use)


def test_batches_of_sizes_that_the_graph_does_not_know(true_float64):
    def make():
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="conv"),
                layers.GlobalAveragePooling2D(), layers.Dense(3),
            ]
        )  # fmt: skip
        model.compile("sgd", "mse")
        return model

    def use(model):
        random = np.random.default_rng(1)
        found = []
        for step in range(6):
            size = 8 + step % 2
            if step == 4:
                model.get_layer("conv").activation = keras.activations.relu
            found.append(
                model.train_on_batch(random.normal(size=(4, size, size, 3)), np.ones((4, 3)))
            )
        return found

    follows(use, make)


class Copies(keras.Model):
    """Copies its network in its first step, as a teacher."""

    def __init__(self):
        super().__init__()
        self.net = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
        self.seen = []

    def call(self, x):
        return self.net(x)

    def train_step(self, data):
        x = data[0]
        self.net(x)
        if not self.seen:
            copy = keras.models.clone_model(self.net)
            copy.set_weights([0.5 * w for w in self.net.get_weights()])
            object.__setattr__(self, "teacher", copy)
        self.seen.append(float(ops.sum(self.teacher(x)).detach()))
        given, _ = self.stateless_call([2.0 * v.value for v in self.trainable_variables], [], x)
        self.seen.append(float(ops.sum(given).detach()))
        return super().train_step(data)


def test_copies_and_stateless_calls_use_their_own_weights(true_float64):
    def make():
        model = Copies()
        model.compile("sgd", "mse")
        return model

    follows(lambda model: (losses(model), model.seen), make)


def test_gradients_are_there_for_a_callback_between_batches(true_float64):
    def use(model):
        norms = []

        def note(model, _):
            norms.append([float(v.value.grad.norm()) for v in model.trainable_variables])

        losses(model, callbacks=[at("on_train_batch_end", note)])
        return norms

    follows(use)


def test_restoring_within_a_fit_is_an_error():
    model = keras_dawn.accelerate(network())
    with pytest.raises(ValueError, match="in the middle of `fit`"):
        losses(model, callbacks=[at("on_epoch_begin", lambda m, _: keras_dawn.restore(m))])
    keras_dawn.restore(model)


@pytest.mark.parametrize("when", ["on_train_begin", "on_train_batch_end", "on_epoch_end"])
def test_accelerating_within_a_plain_fit_is_an_error_that_says_so(when):
    model, plain = network(), network()
    accelerated = at(when, lambda *_: keras_dawn.accelerate(model))
    with pytest.raises(ValueError, match="call `accelerate` before it begins or when it has retur"):
        losses(model, callbacks=[accelerated])
    assert engine_of(model) is None
    losses(model)  # and it trains as before, and natively when it has been accelerated
    losses(keras_dawn.accelerate(model))
    # Another model's `fit` is no hindrance.
    losses(plain, callbacks=[at(when, lambda *_: keras_dawn.accelerate(model))])


def nested_graphs():
    inner = keras.Input((4,))
    inside = keras.Model(inner, layers.Dense(3, "relu")(inner))
    sequential = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    inputs = keras.Input((4,))
    return keras.Model(inputs, sequential(inside(inputs)))


@pytest.mark.parametrize("own_layer", [False, True])
def test_what_was_lowered_is_used_in_every_fit(own_layer):
    model = nested_graphs()
    if own_layer:
        model = keras.Sequential([model, layers.Lambda(lambda x: 2 * x)])
    model.compile("adam", "mse")
    keras_dawn.accelerate(model)
    x, y = torch.randn(8, 4), torch.randn(8, 2)
    model.fit(x, y, verbose=0)
    steps = engine_of(model).steps
    model.fit(x, y, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert engine_of(model).steps is steps


def test_a_layer_added_to_a_nested_sequential_takes_effect():
    model = nested_graphs()
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    x = torch.randn(8, 4)
    before = model.predict(x, verbose=0)
    model.layers[-1].add(layers.Rescaling(2.0))
    np.testing.assert_allclose(
        model.predict(x, verbose=0), model(x).detach().cpu().numpy(), rtol=1e-6
    )
    assert not np.allclose(before, model.predict(x, verbose=0))
