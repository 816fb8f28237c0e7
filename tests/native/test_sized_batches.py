"""Batches of graphs that are written in torch for their sizes: wrong ones, masks, losses, kinds."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps import lowerings
from keras_dawn.native.steps.sized_forward import SizedForward

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.sized_models import AddingOutsideTraining, Cubes, Doubled, in_a_row
from tests.on_device import torch


def other_last_layer(model):
    model.pop()
    model.add(layers.Dense(3, kernel_initializer="ones"))


def hook(model):
    model.register_forward_hook(lambda *arguments: 3.0 * arguments[-1])


def setting(model):
    model.layers[-1].activation = keras.activations.relu


def penalty(model):
    model.layers[-1].kernel.regularizer = keras.regularizers.L2(0.5)


def other_memory(model):
    kernel = model.layers[-1].kernel
    kernel._value = torch.nn.Parameter(3.0 * kernel.value.detach())


@pytest.mark.parametrize("change", [other_last_layer, hook, setting, penalty, other_memory])
def test_what_changes_between_two_calls_is_taken_up(change):
    x, y = numbers(4, 5, 3), numbers(4, 5, 3)
    plain, model = both(in_a_row)
    for each in (plain, model):
        each.evaluate(x, y, verbose=0)
        each.predict(x, verbose=0)
    assert is_sized(model)
    for each in (plain, model):
        change(each)
    alike(model.evaluate(x, y, verbose=0), plain.evaluate(x, y, verbose=0))
    alike(model.predict(x, verbose=0), plain.predict(x, verbose=0))


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def compiled(inputs, outputs, kind=keras.Model):
    model = kind(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0625), "mse")
    return model


def both(make):
    """The same model twice, plain and accelerated."""
    found = []
    for finish in (lambda model: model, keras_dawn.accelerate):
        keras.utils.set_random_seed(0)
        found.append(finish(make()))
    return found


def is_sized(model):
    return isinstance(engine_of(model).steps.forward, SizedForward)


def alike(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def of_six():
    inputs = keras.Input((6, 3))
    x = layers.Dense(2)(Doubled()(inputs))
    return compiled(inputs, layers.GlobalAveragePooling1D()(x))


@pytest.mark.parametrize("way", ["predict", "evaluate", "fit", "predict_on_batch"])
def test_a_batch_of_another_size_than_the_input_says_gets_keras_s_error(way):
    right, wrong, y = numbers(4, 6, 3), numbers(4, 5, 3), numbers(4, 2)
    for model in both(of_six):
        model.fit(right, y, verbose=0)
        before = model.get_weights()
        arguments = (wrong,) if "predict" in way else (wrong, y)
        settings = {} if way == "predict_on_batch" else {"verbose": 0}
        with pytest.raises(ValueError, match="expected shape"):
            getattr(model, way)(*arguments, **settings)
        assert all(map(np.array_equal, model.get_weights(), before))
        model.predict(right, verbose=0)
    assert is_sized(model)


def test_an_axis_of_one_that_keras_takes_away_is_taken_away():
    def make():
        inputs = keras.Input((6,))
        return compiled(inputs, layers.Flatten()(Doubled()(layers.Reshape((3, 2))(inputs))))

    plain, model = both(make)
    x = numbers(4, 6, 1)
    alike(model.predict(x, verbose=0), plain.predict(x, verbose=0))
    assert is_sized(model)


def test_a_gpu_without_memory_is_not_asked_again_layer_by_layer():
    def full(*_):
        raise torch.OutOfMemoryError("no memory left")

    model = keras_dawn.accelerate(of_six())
    x, y = numbers(4, 6, 3), numbers(4, 2)
    model.fit(x, y, verbose=0)
    forward = engine_of(model).steps.forward
    forward._known = {key: (full, *rest) for key, (_, *rest) in forward._known.items()}
    with pytest.raises(torch.OutOfMemoryError):
        model.fit(x, y, verbose=0)
    assert engine_of(model).steps.forward is forward


def test_weights_in_half_precision_are_read_anew_when_something_may_have_changed_them():
    keras.config.set_dtype_policy("mixed_bfloat16")
    plain, model = both(in_a_row)
    x = numbers(4, 5, 3)
    for factor in (1.0, 3.0):
        for each in (plain, model):
            each.layers[-1].bias.assign(np.full(3, factor))
        expected, found = (each.predict(x, verbose=0).astype("float32") for each in (plain, model))
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02)
    assert is_sized(model)


@pytest.mark.parametrize("regularizer", [None, "l2", Cubes()])
@pytest.mark.parametrize("activity", [None, "l2"])
def test_an_output_with_a_mask_and_penalties_on_the_way(regularizer, activity):
    def make():
        inputs = keras.Input((None, 3))
        x = layers.Masking()(Doubled(activity_regularizer=activity)(inputs))
        return compiled(inputs, layers.Dense(2, kernel_regularizer=regularizer)(x))

    x, y = numbers(4, 5, 3), numbers(4, 5, 2)
    x[:, 3:] = 0.0
    plain, model = both(make)
    for each in (
        lambda model: model.fit(x, y, epochs=2, verbose=0).history["loss"],
        lambda model: model.evaluate(x, y, verbose=0),
        lambda model: model.predict(x, verbose=0),
    ):
        alike(each(model), each(plain))
    assert is_sized(model) == (activity is None)


class WithLosses(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred)) + sum(self.losses)


class Calling(keras.callbacks.Callback):
    """Calls the model on the way, outside training."""

    def on_train_batch_end(self, batch, logs=None):
        self.model(numbers(4, 5, 3))


def test_losses_of_calls_before_a_step_are_dropped():
    def make():
        inputs = keras.Input((None, 3))
        return compiled(inputs, layers.Dense(2)(AddingOutsideTraining()(inputs)), WithLosses)

    settings = {"epochs": 2, "batch_size": 2, "shuffle": False, "verbose": 0}
    plain, model = both(make)
    expected, found = (
        each.fit(numbers(6, 5, 3), numbers(6, 5, 2), callbacks=[Calling()], **settings)
        for each in (plain, model)
    )
    alike(found.history["loss"], expected.history["loss"])
    assert is_sized(model)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_operations_that_are_called_as_they_are(policy):
    """Also inside a model that makes its inputs wide, which a layer's Python is told."""
    keras.config.set_dtype_policy(policy)

    def make():
        inner = keras.Input((None, 4), dtype="float32")
        wide = keras.Model(inner, Doubled(autocast=False)(ops.cumsum(inner, axis=1)))
        inputs = keras.Input((None, 4))
        x = wide(layers.Dense(4)(inputs))
        x = ops.where(ops.any(x > 0, axis=-1, keepdims=True), x, -x)
        return compiled(inputs, layers.Dense(2)(x))

    plain, model = both(make)
    x = numbers(4, 5, 4)
    tolerance = 1e-5 if policy == "float32" else 0.1
    expected, found = (each.predict(x, verbose=0).astype("float32") for each in (plain, model))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert is_sized(model)


class Around(keras.Model):
    """Python of a user's around a graph whose output has a mask."""

    def __init__(self):
        super().__init__()
        inputs = keras.Input((None, 3))
        self.graph = keras.Model(inputs, layers.Masking()(Doubled()(inputs)))
        self.head = layers.LSTM(2)

    def call(self, x):
        return self.head(self.graph(x))


def test_a_graph_with_a_mask_inside_a_model_of_ones_own():
    x = numbers(4, 5, 3)
    x[:, 3:] = 0.0

    def make():
        model = Around()
        model(x)
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        return model

    plain, model = both(make)
    expected, found = (each.fit(x, numbers(4, 2), verbose=0).history for each in (plain, model))
    alike(found["loss"], expected["loss"])
    alike(model.predict(x, verbose=0), plain.predict(x, verbose=0))


def test_a_graph_that_has_changed_is_written_down_anew_when_there_are_many(monkeypatch):
    monkeypatch.setattr(lowerings, "MOST_SHAPES", 2)
    inputs = keras.Input((None, 3))
    dense = layers.Dense(2)
    model, x = keras.Model(inputs, dense(Doubled()(inputs))), torch.ones(4, 5, 3)
    of_model = lowerings.Lowerings(model)

    def computed():
        _, (function, lowered) = of_model.entry(False, (x,), {}, [x])
        assert not lowered.fallbacks
        return function(x).detach().cpu()

    alike(computed(), ops.convert_to_numpy(model(x)))
    dense.activation = keras.activations.relu
    alike(computed(), ops.convert_to_numpy(model(x)))


class Counting(layers.Layer):
    """Counts long sequences, for which its Python has to be called."""

    seen = 0

    def call(self, x):
        batch, length, width = ops.shape(x)
        if length > 6:
            self.seen += 1
        return ops.reshape(2.0 * ops.reshape(x, (batch * length, width)), (batch, length, width))


def test_a_kind_of_batch_that_cannot_be_written_down_leaves_the_others_so(monkeypatch):
    monkeypatch.setattr(lowerings, "MOST_SHAPES", 5)
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layers.Dense(2)(Counting()(inputs)))
    of_model = lowerings.Lowerings(model)
    tries, lower = [], lowerings.lower
    monkeypatch.setattr(lowerings, "lower", lambda *a, **b: tries.append(1) or lower(*a, **b))
    for length in (5, 9, 4, 9, 5, 4, 9, *range(10, 16), 5):
        x = torch.ones(4, length, 3)
        _, (function, lowered) = of_model.entry(False, (x,), {}, [x])
        assert bool(lowered.fallbacks) == (length > 6)
        alike(function(x).detach().cpu(), ops.convert_to_numpy(model(x)))
    assert len(tries) <= 6  # and one for all kinds
    for _ in range(9):  # as epochs do
        of_model.try_again()
        of_model.entry(False, (torch.ones(4, 9, 3),), {}, [torch.ones(4, 9, 3)])
    assert len(tries) <= 6 + lowerings.MOST_TRIES
