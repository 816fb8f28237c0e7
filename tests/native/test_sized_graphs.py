"""Graphs with layers that ask a batch for its sizes: written in torch for each kind of batch."""

import itertools

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps import sized_forward
from keras_dawn.native.steps.graph_forward import GraphForward
from keras_dawn.native.steps.sized_forward import SizedForward

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.sized_models import WIDTH, WORDS, Few, Mixing, Token, graph
from tests.on_device import torch


def batches(*sizes):
    generator = np.random.default_rng(0)
    return [
        (generator.integers(0, WORDS, size).astype("int32"), generator.integers(0, 3, size[0]))
        for size in sizes
    ]


def stream(sizes):
    yield from batches(*sizes)


SIZES = (4, 5), (4, 8), (4, 5), (2, 5), (4, 8), (3, 9), (4, 5)


def trained(model, sizes=SIZES, **arguments):
    found = []
    for _ in range(2):
        settings = {"steps_per_epoch": len(sizes), "shuffle": False, "verbose": 0}
        history = model.fit(stream(sizes), **settings, **arguments).history
        found += [*map(np.asarray, history.values())]
    found.append(np.asarray(model.evaluate(stream(sizes), steps=len(sizes), verbose=0)))
    for x, _ in batches(*sizes):
        found.append(model.predict(x, verbose=0))
    return [*found, *model.get_weights()]


def seeded(make):
    keras.utils.set_random_seed(0)
    return make()


def follows(make, tolerance=1e-5, sizes=SIZES, **arguments):
    """Trains both ways, holds one against the other, and returns the accelerated model."""
    expected = trained(seeded(make), sizes, **arguments)
    model = keras_dawn.accelerate(seeded(make))
    for one, other in zip(trained(model, sizes, **arguments), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    return model


def forward_of(model):
    return engine_of(model).steps.forward


def is_whole(model):
    return isinstance(forward_of(model), SizedForward) and keras_dawn.explain(model).is_whole()


@pytest.mark.parametrize("nested", [False, True])
def test_batches_of_all_sizes_train_as_in_plain_keras(nested):
    model = follows(lambda: graph(Token(), Mixing(), nested=nested))
    assert is_whole(model)
    found = keras_dawn.explain(model).layers
    assert found["Mixing"] == found["Token"] == 1


def test_no_python_of_a_layers_runs_in_a_batch_of_known_sizes():
    model = keras_dawn.accelerate(graph(Token(), Mixing()))
    x, y = batches((4, 5))[0]
    model.fit(x, y, batch_size=4, verbose=0)
    model.predict(x, verbose=0)
    calls = []
    for layer in model.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))  # is not asked before an epoch
    engine = engine_of(model)
    engine.steps.train_step([(torch.as_tensor(x), torch.as_tensor(y), None)])
    assert not calls


def test_what_is_written_down_leaves_nothing_at_the_layers():
    model = keras_dawn.accelerate(graph(Token(), Mixing(), nested=True))
    inside = model._flatten_layers()
    before = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in inside]
    x, y = batches((4, 5))[0]
    name = layers.Dense(1).name
    model.fit(x, y, verbose=0)
    number = int(name.rpartition("_")[2]) if "_" in name else 0
    assert layers.Dense(1).name == f"dense_{number + 1}"
    assert [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in inside] == before


def test_only_further_kinds_of_batches_than_are_written_down_go_layer_by_layer(monkeypatch):
    monkeypatch.setattr(sized_forward, "MOST_KINDS", 3)
    with pytest.warns(UserWarning, match="more than 3 kinds .* slower, with the same results") as w:
        model = follows(lambda: graph(Token(), Mixing(rate=0.0)))
    assert len([each for each in w if "kinds" in str(each.message)]) == 1
    forward = forward_of(model)
    (known, further), (y, _) = zip(*batches((4, 5), (3, 9)), strict=True)
    model.fit(known, y, verbose=0)
    assert is_whole(model)
    model.fit(further, y[:3], verbose=0)
    found = {kind for _, kind, _ in keras_dawn.explain(model).fallbacks}
    assert found <= {"Token", "Mixing"} and forward_of(model) is forward
    model.fit(known, y, verbose=0)
    assert is_whole(model) and forward_of(model) is forward


def test_what_a_layer_adds_to_the_loss_of_further_kinds_counts(monkeypatch):
    monkeypatch.setattr(sized_forward, "MOST_KINDS", 1)
    sizes = (4, 5), (4, 9), (2, 7), (4, 5), (4, 8)

    def make():
        dense = layers.Dense(WIDTH, kernel_regularizer="l2")
        return graph(Token(), AddingOfMany(), dense, Mixing())

    with pytest.warns(UserWarning, match="more than 1 kinds"):
        model = follows(make, sizes=sizes)
    assert isinstance(forward_of(model), SizedForward)


class Short(layers.Layer):
    """Takes at most seven steps."""

    def build(self, shape):
        self.built = True

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        if ops.shape(x)[1] > 7:
            raise ValueError("that is too long")
        return x


def test_an_error_of_a_layer_in_a_further_kind_of_batch_is_the_users_and_happens_once(monkeypatch):
    monkeypatch.setattr(sized_forward, "MOST_KINDS", 1)
    model = keras_dawn.accelerate(graph(Short(), Token(), Mixing()))
    (x, long), (y, _) = zip(*batches((4, 5), (4, 9)), strict=True)
    model.fit(x, y, verbose=0)
    forward = forward_of(model)
    with (
        pytest.warns(UserWarning, match="more than 1 kinds"),
        pytest.raises(ValueError, match="that is too long"),
    ):
        model.fit(long, y, verbose=0)
    assert forward_of(model) is forward
    model.fit(x, y, verbose=0)
    assert is_whole(model)


class AddingOfMany(layers.Layer):
    """Adds to the loss of batches with more than seven steps."""

    def call(self, x):
        if ops.shape(x)[1] > 7:
            self.add_loss(ops.mean(ops.square(x)))
        return x


@pytest.mark.parametrize("most", [32, 3])
@pytest.mark.filterwarnings("ignore:.* was given more than 3 kinds")
def test_mixed_precision(monkeypatch, most):
    monkeypatch.setattr(sized_forward, "MOST_KINDS", most)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = follows(lambda: graph(Token(), Mixing()), tolerance=0.05)
    assert is_whole(model)


def test_kinds_of_batches_share_the_copies_of_weights_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_dawn.accelerate(graph(Token(), Mixing()))
    for x, y in batches((4, 5), (4, 8), (2, 9)):
        model.fit(x, y, verbose=0)
    # Kernels and biases of the attention and of the head, and the token.
    assert len(forward_of(model)._copies[True]) == 11


def test_weights_that_only_some_sizes_use_are_read_as_they_are_now():
    keras.config.set_dtype_policy("mixed_bfloat16")
    words = batches((6, 5))[0][0]

    def predicted(model):
        found = []
        for step in range(3):
            model.get_layer("few").extra.bias.assign(np.full(WIDTH, float(step)))
            found.append(model.predict(words, batch_size=4, verbose=0))
        return found

    def make():
        return graph(Token(), Few(name="few"), Mixing())

    model = keras_dawn.accelerate(seeded(make))
    np.testing.assert_allclose(predicted(model), predicted(seeded(make)), rtol=0.05, atol=0.05)
    assert is_whole(model)


class Freezing(keras.callbacks.Callback):
    """Freezes one weight of a layer's for two steps."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.seen = weight, []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((self.weight.numpy(), self.weight.value.grad is None))
        self.weight.trainable = batch not in (1, 2)


def test_a_weight_that_is_frozen_on_the_way_stays_as_it_is():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_dawn.accelerate(graph(Token(), Mixing(name="mixing")))
    freezing = Freezing(model.get_layer("mixing").attention.query_dense.kernel)
    sizes = [(4, 5)] * 6
    model.fit(stream(sizes), steps_per_epoch=6, shuffle=False, verbose=0, callbacks=[freezing])
    values, no_gradient = zip(*freezing.seen, strict=True)
    moved = [not np.array_equal(*pair) for pair in itertools.pairwise(values)]
    assert moved == [True, False, False, True, True]
    assert no_gradient[2] and no_gradient[3]
    assert is_whole(model)


def test_a_layer_that_is_frozen_between_two_fits_stays_as_it_is():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_dawn.accelerate(graph(Token(), Mixing(name="mixing")))
    x, y = batches((4, 5))[0]
    model.fit(x, y, verbose=0)
    attention = model.get_layer("mixing").attention
    attention.trainable = False
    before = attention.get_weights()
    model.fit(x, y, verbose=0)
    assert all(map(np.array_equal, attention.get_weights(), before))
    assert all(v.value.grad is None for v in attention.variables)
    attention.trainable = True
    model.fit(x, y, verbose=0)
    assert not all(map(np.array_equal, attention.get_weights(), before))
    assert is_whole(model)


def test_a_loss_of_the_models_own():
    class Own(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ops.mean(ops.square(y_pred)) + 0.1 * sum(self.losses)

    def make():
        model = graph(Token(), layers.Dense(WIDTH, kernel_regularizer="l2"), Mixing())
        own = Own(model.inputs, model.outputs)
        own.compile("sgd", "mse")
        return own

    follows(make)


def test_dropout_is_drawn_anew_in_every_step():
    model = keras_dawn.accelerate(graph(Token(), Mixing(rate=0.5)))
    model.optimizer.learning_rate = 0.0
    x, y = batches((4, 5))[0]
    losses = [model.fit(x, y, verbose=0).history["loss"][0] for _ in range(4)]
    assert is_whole(model) and len(set(losses)) == 4
    alike = [model.evaluate(x, y, verbose=0)[0] for _ in range(2)]
    assert alike[0] == alike[1]


def test_weights_of_samples_and_penalties():
    def make():
        dense = layers.Dense(WIDTH, kernel_regularizer="l2", bias_constraint="non_neg")
        return graph(Token(), dense, Mixing())

    def trained_on(model):
        (x, y), weights = batches((12, 5))[0], np.linspace(0, 2, 12)
        settings = {"epochs": 2, "shuffle": False, "verbose": 0}
        history = model.fit(x, y, batch_size=5, sample_weight=weights, **settings)
        return [*history.history.values(), *model.evaluate(x, y, verbose=0), *model.get_weights()]

    model = keras_dawn.accelerate(seeded(make))
    for one, other in zip(trained_on(model), trained_on(seeded(make)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert is_whole(model)


class Changing(keras.callbacks.Callback):
    """Changes a setting of a layer's, freezes another and replaces a weight, on the way."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            layer = self.model.get_layer("mixing")
            layer.attention.trainable = False
            layer.norm.momentum = 0.5
        if batch == 4:
            self.model.layers[-1].bias.assign(np.ones(3))
            self.model.get_layer("mixing").attention.trainable = True


def test_what_callbacks_change_on_the_way():
    follows(lambda: graph(Token(), Mixing(name="mixing")), callbacks=[Changing()])


class Counting(Mixing):
    """Python of a user's that does more than to combine layers."""

    def call(self, x, training=None):
        self.count = getattr(self, "count", 0) + 1
        return super().call(x, training)


def test_a_layer_that_counts_its_calls_is_called():
    made = []

    def make():
        made.append(Counting())
        return graph(Token(), made[-1])

    model = follows(make)
    assert isinstance(forward_of(model), GraphForward)
    plain, accelerated = made
    assert accelerated.count == plain.count


class Adding(Mixing):
    def call(self, x, training=None):
        length = ops.shape(x)[1]
        self.add_loss(ops.mean(ops.square(x)) / length)
        return super().call(x, training)


def test_losses_that_a_layer_adds():
    follows(lambda: graph(Token(), Adding()))


def test_several_inputs_by_name():
    def make():
        model = graph(Token(), Mixing())
        words, scale = keras.Input((None,), dtype="int32", name="words"), keras.Input((), name="s")
        outputs = model(words) * ops.expand_dims(scale, -1)
        outer = keras.Model({"words": words, "s": scale}, {"a": outputs, "b": -outputs})
        outer.compile("sgd", {"a": "mse", "b": "mae"})
        return outer

    (x, _), generator = batches((10, 5))[0], np.random.default_rng(1)
    data = {"words": x, "s": generator.normal(size=10)}
    targets = {"a": generator.normal(size=(10, 3)), "b": generator.normal(size=(10, 3))}

    def results(model):
        history = model.fit(data, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
        predicted = model.predict(data, batch_size=4, verbose=0)
        return [*history.history.values(), predicted["a"], predicted["b"], *model.get_weights()]

    model = keras_dawn.accelerate(seeded(make))
    for one, other in zip(results(model), results(seeded(make)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert is_whole(model)


def test_a_batch_that_keras_refuses_gets_its_error():
    model = keras_dawn.accelerate(graph(Token(), Mixing()))
    x, y = batches((4, 5))[0]
    model.fit(x, y, verbose=0)
    with pytest.raises(ValueError):
        model.fit(x[..., None, None], y, verbose=0)
    with pytest.raises(Exception, match="(?i)index|range"):
        model.fit(*batches((4, 45))[0], verbose=0)  # more places than there are
    model.fit(x, y, verbose=0)
    assert is_whole(model)  # the error was the batch's
