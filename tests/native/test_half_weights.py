"""Weights in half precision are cast all at once: the bits of casts inside the graph."""

import re
from itertools import chain

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps import graph_evaluation, graph_forward, graph_training

import keras
import numpy as np
import pytest
from keras import layers

from tests.on_device import on_processor, torch

X = np.random.default_rng(0).integers(0, 9, (24, 6))
Y = np.random.default_rng(1).integers(0, 3, 24)


def network():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4)(inputs)
    shared = layers.Dense(4, "relu", kernel_regularizer="l2", name="shared")
    x = layers.LSTM(5, return_sequences=True)(shared(shared(x)))
    x = layers.Conv1D(4, 3, activation="relu")(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(3, dtype="float32")(x))


class Changes(keras.callbacks.Callback):
    """Sets weights between batches, and freezes and thaws a layer between epochs."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.model.set_weights([0.5 * weight for weight in self.model.get_weights()])

    def on_epoch_begin(self, epoch, logs=None):
        self.model.get_layer("shared").trainable = epoch % 2 == 0


def _cast_where_used(monkeypatch):
    monkeypatch.setattr(graph_training, "HalfWeights", lambda *_: None)
    evaluation = graph_evaluation.GraphEvaluation
    monkeypatch.setattr(
        graph_forward, "GraphEvaluation", lambda low, compile, _: evaluation(low, compile, False)
    )


def trained(policy, at_once, monkeypatch, optimizer="adam", callbacks=()):
    if not at_once:
        _cast_where_used(monkeypatch)
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = network()
    keras.config.set_dtype_policy("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    keras_dawn.accelerate(model)
    history = model.fit(
        X, Y, batch_size=6, epochs=4, shuffle=False, verbose=0, callbacks=list(callbacks)
    )
    monkeypatch.undo()
    return model, history.history["loss"]


@on_processor
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("callbacks", [[], [Changes]])
def test_training_is_the_same_to_the_bit(policy, callbacks, monkeypatch):
    ours, losses = trained(policy, True, monkeypatch, callbacks=[make() for make in callbacks])
    other, expected = trained(policy, False, monkeypatch, callbacks=[make() for make in callbacks])
    assert losses == expected
    for one, weight in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, weight)
    if callbacks:
        return  # a layer that is frozen at the end is cast in the graph
    code = engine_of(ours).steps.forward.training.module.code
    casts = re.findall(r"(\w+kernel)(?:_\d+)?\.to\(", code)
    assert casts == ["shared_kernel"] * 2  # which is used twice
    code = engine_of(other).steps.forward.training.module.code
    assert "kernel.to(" in code


class Breaks(keras.callbacks.Callback):
    """Ends a training within a step, after its backward pass."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            optimization = engine_of(self.model).steps.optimization

            def fails(*args):
                raise KeyboardInterrupt

            optimization.step = fails


def test_a_step_that_was_broken_off_leaves_no_gradient(monkeypatch):
    model, _ = trained("mixed_bfloat16", True, monkeypatch, "sgd")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=6, verbose=0, callbacks=[Breaks()])
    del engine_of(model).steps.optimization.step
    other, _ = trained("mixed_bfloat16", True, monkeypatch, "sgd")
    other.fit(X[:12], Y[:12], batch_size=6, shuffle=False, verbose=0)
    other.set_weights(model.get_weights())
    for each in (model, other):
        each.fit(X, Y, batch_size=6, shuffle=False, verbose=0)
    for one, weight in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, weight)


def test_the_gradients_that_a_callback_sees_are_those_of_the_weights(monkeypatch):
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([v.value.grad.clone() for v in self.model.trainable_variables])

    trained("mixed_bfloat16", True, monkeypatch, callbacks=[Looks()])
    ours, seen = seen, []
    trained("mixed_bfloat16", False, monkeypatch, callbacks=[Looks()])
    assert len(ours) == len(seen) == 16
    for one, other in zip(chain(*ours), chain(*seen), strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)


class SetsWeights(keras.callbacks.Callback):
    """Halves the weights after a batch that was predicted or evaluated."""

    def on_predict_batch_end(self, batch, logs=None):
        self.model.set_weights([0.5 * weight for weight in self.model.get_weights()])

    on_test_batch_end = on_predict_batch_end


@on_processor
@pytest.mark.parametrize("callbacks", [[], [SetsWeights]])
def test_predictions_are_the_same_to_the_bit(callbacks, monkeypatch):
    found = []
    for at_once in (True, False):
        model, _ = trained("mixed_bfloat16", at_once, monkeypatch)
        if not at_once:  # a change may make the steps anew
            _cast_where_used(monkeypatch)
        model.get_layer("shared").trainable = False
        settings = {"batch_size": 6, "verbose": 0, "callbacks": [make() for make in callbacks]}
        outputs = [model.predict(X, **settings)]
        model.set_weights([0.75 * weight for weight in model.get_weights()])
        outputs += [model.predict(X, **settings), np.array(model.evaluate(X, Y, **settings))]
        code = engine_of(model).steps.forward.evaluating.module.code
        assert ("kernel.to(" in code) != at_once
        found.append(outputs)
        monkeypatch.undo()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_cast_once_for_all_batches_that_are_predicted(monkeypatch):
    model, _ = trained("mixed_bfloat16", True, monkeypatch)
    model.predict(X, batch_size=6, verbose=0)
    halves = engine_of(model).steps.forward._evaluation.halves
    counted = []
    refresh = halves.refresh
    halves.refresh = lambda: counted.append(refresh())
    model.predict(X, batch_size=6, verbose=0)
    assert len(counted) == 1
    model.predict(X, batch_size=6, verbose=0, callbacks=[SetsWeights()])
    assert len(counted) == 1 + 4


@on_processor
def test_hooks_on_weights_are_called_with_their_gradients(monkeypatch):
    model, _ = trained("mixed_bfloat16", True, monkeypatch, "sgd")
    (kernel,) = (layer.kernel for layer in model.layers if type(layer) is layers.Conv1D)
    before, seen = kernel.numpy().copy(), []

    def forgets(gradient):
        seen.append(gradient.dtype)
        return torch.zeros_like(gradient)

    hook = kernel.value.register_hook(forgets)
    model.fit(X, Y, batch_size=6, verbose=0)
    assert seen == [torch.float32] * 4
    np.testing.assert_array_equal(kernel.numpy(), before)
    hook.remove()
    model.fit(X, Y, batch_size=6, verbose=0)
    assert (kernel.numpy() != before).any() and len(seen) == 4


def test_weights_that_are_loaded_between_predictions_are_those_that_predict(tmp_path):
    model, other = (compiled(seed) for seed in (0, 1))
    other.save_weights(tmp_path / "other.weights.h5")
    with torch.inference_mode():  # whoever makes the copies first
        before = model.predict(X, verbose=0)
    model.load_weights(tmp_path / "other.weights.h5")
    found = model.predict(X, verbose=0)
    assert (found != before).any()
    np.testing.assert_array_equal(found, other.predict(X, verbose=0))
    history = model.fit(X, Y, batch_size=6, verbose=0, validation_data=(X, Y)).history
    loss = model.evaluate(X, Y, verbose=0)
    assert history["val_loss"][0] == pytest.approx(loss, rel=1e-6)


def compiled(seed):
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = network()
    keras.config.set_dtype_policy("float32")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return keras_dawn.accelerate(model)


def trained_once(outputs_of, inputs, x):
    """A model in mixed precision after one step down the sum of its outputs."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Model(inputs, outputs_of(inputs))
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.SGD(1.0), lambda _, y: y.sum((-2, -1)))
    keras_dawn.accelerate(model)
    model.train_on_batch(x, np.zeros((len(x), 1)))
    return model


# 256 + 1 is 256 in bfloat16.
def test_gradients_of_a_layer_that_is_used_often_are_added_up_in_float32():
    def outputs_of(x):
        shared = layers.Dense(2, kernel_initializer="zeros")
        large = shared(layers.Rescaling(256.0)(x))
        total = layers.Add(dtype="float32")([large, *[shared(x) for _ in range(9)]])
        return layers.Reshape((1, 2), dtype="float32")(total)

    model = trained_once(outputs_of, keras.Input((2,)), np.ones((1, 2), "float32"))
    np.testing.assert_array_equal(model.get_weights()[0], np.full((2, 2), -265.0))


def test_gradients_of_a_row_that_is_looked_up_often_are_added_up_in_float32():
    def outputs_of(x):
        return layers.Embedding(3, 2, embeddings_initializer="zeros")(x)

    inputs = keras.Input((700,), dtype="int32")
    model = trained_once(outputs_of, inputs, np.ones((1, 700), "int32"))
    np.testing.assert_array_equal(model.get_weights()[0][1], [-700.0, -700.0])


@pytest.mark.parametrize(
    "options",
    [{}, {"tie_weights": False}, {"reverse_dtype": "bfloat16"}, {"reverse_dtype": "float32"}],
)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_a_table_that_is_read_backwards_is_cast_as_in_keras(options, policy):
    layer = layers.ReversibleEmbedding(9, 4, dtype="mixed_bfloat16", **options)
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((6,), dtype="int32")
    model = keras.Model(inputs, layer(layer(inputs), reverse=True))
    keras.config.set_dtype_policy("float32")
    x = torch.tensor(X[:4])
    for training in (False, True):
        ours, plain = keras_dawn.to_torch(model, training)(x), model(x, training=training)
        assert ours.dtype == plain.dtype
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)
