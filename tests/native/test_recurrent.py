"""Recurrent layers against plain Keras, in float64: outputs, states, gradients, random draws."""

import pickle
import re
import warnings

import keras_dawn
from keras_dawn.native import recurrent, to_torch
from keras_dawn.native.lowering import lower
from keras_dawn.native.recurrent import kernels

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.native.recurrent_models import (
    FEATURES,
    RECURRENT,
    STEPS,
    assert_as_keras,
    batch,
    of_one_layer,
)
from tests.on_device import torch

OPTIONS = {
    "last": {},
    "sequences": {"return_sequences": True},
    "states": {"return_state": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "return_state": True},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer(name, options, masked, true_float64):
    layer = RECURRENT[name](**OPTIONS[options])
    assert_as_keras(of_one_layer(layer, masked), batch(masked))


SETTINGS = {
    "no bias": {"use_bias": False},
    "other activations": {"activation": "relu"},
    "linear": {"activation": None},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "SimpleRNN"])
def test_settings_of_a_recurrent_layer(name, settings, masked, true_float64):
    layer = RECURRENT[name](return_sequences=True, **SETTINGS[settings])
    assert_as_keras(of_one_layer(layer, masked), batch(masked))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rates", [(0.3, 0.0), (0.0, 0.4), (0.3, 0.4)])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "SimpleRNN"])
def test_dropout_makes_the_draws_of_keras(name, rates, masked, true_float64):
    layer = RECURRENT[name](dropout=rates[0], recurrent_dropout=rates[1], return_state=True)
    assert_as_keras(of_one_layer(layer, masked), batch(masked))


def test_dropout_in_a_stack_makes_the_draws_of_keras(true_float64):
    cells = [
        layers.LSTMCell(4, dropout=0.3),
        layers.GRUCell(5, dropout=0.2, recurrent_dropout=0.3),
    ]
    assert_as_keras(of_one_layer(layers.RNN(cells)), batch())


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU-before"])
def test_outputs_of_masked_steps(name, sequences, zero, true_float64):
    layer = RECURRENT[name](return_sequences=sequences, zero_output_for_mask=zero)
    assert_as_keras(of_one_layer(layer, True), batch(True))


def test_what_keras_refuses_is_left_to_keras():
    cases = {
        "seed of its own": layers.LSTM(4, dropout=0.2, seed=3),
        "dropout of 1": layers.LSTM(4, dropout=1.0),
        "implementation=1": layers.LSTM(4, dropout=0.2, implementation=1),
        "the cell": layers.RNN(OwnCell()),
        "the activation": layers.LSTM(4, activation=lambda x: x),
    }
    for reason, layer in cases.items():
        ((_, found),) = lower(of_one_layer(layer), True).fallbacks
        assert reason in found
    masked = of_one_layer(layers.LSTM(4, go_backwards=True, unroll=True), False)
    assert not lower(masked, True).fallbacks


class OwnCell(layers.Layer):
    state_size = 3

    def call(self, inputs, states):
        return inputs + states[0], [inputs]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_more_features_than_the_weights_have_are_an_error_without_a_gradient_too(name):
    model = keras.Sequential([keras.Input((5, 4)), getattr(layers, name)(3)])
    x = np.ones((2, 5, 6), "float32")
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes") as expected:
        model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes") as found:
        model.predict(x, verbose=0)
    shapes = re.compile(r"\(\S+ and \S+\)")
    assert shapes.search(str(found.value))[0] == shapes.search(str(expected.value))[0]


def test_a_changed_setting_makes_the_lowering_stale():
    layer = layers.LSTM(4, dropout=0.2)
    lowered = lower(of_one_layer(layer), True)
    assert lowered.reads.are_current()
    layer.cell.dropout = 0.3
    assert not lowered.reads.are_current()


def test_an_lstm_is_one_named_call_and_can_be_pickled():
    model = of_one_layer(layers.LSTM(4, dropout=0.2, return_sequences=True, name="memory"))
    module = to_torch(model, training=True)
    (line,) = [line for line in module.code.splitlines() if "memory =" in line]
    assert "recurrent_layers_lstm(before, " in line
    assert "sequences = True, dropout = (0.2, 0.0, 0, True))" in line
    copied = pickle.loads(pickle.dumps(module))
    results = []
    for each in (module, copied):
        torch.manual_seed(0)
        results.append(each(torch.ones(2, STEPS, FEATURES)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU-before", "SimpleRNN"])
def test_half_precision_is_near_keras(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = of_one_layer(RECURRENT[name](return_state=True), masked=True)
    x = batch(masked=True)
    for one, other in zip(lower(model, True).module(x), model(x, training=True), strict=True):
        assert one.dtype == other.dtype == torch.bfloat16
        assert relative(one.float(), other.float()) < 3e-2


@pytest.mark.parametrize("name", ["lstm", "lstm-softsign", "gru", "gru-before", "simple_rnn"])
def test_gradients_of_many_steps_are_added_up_in_float32(name):
    kind, *rest = name.split("-")
    function = getattr(recurrent, kind)
    options = {"softsign": {"activation": "softsign"}, "before": {"reset_after": False}}
    rows = 4 * {"lstm": 4, "gru": 3, "simple_rnn": 1}[kind]
    generator = torch.Generator().manual_seed(0)
    kernels = [torch.rand(rows, 4, generator=generator).mul(0.1).bfloat16() for _ in range(2)]

    def gradients(dtype):
        weights = [kernel.to(dtype, copy=True).requires_grad_() for kernel in kernels]
        x = torch.ones(2, 300, 4, dtype=dtype)
        given = options[rest[0]] if rest else {}
        function(x, *weights, sequences=True, **given).double().sum().backward()
        return [weight.grad for weight in weights]

    for half, exact in zip(gradients(torch.bfloat16), gradients(torch.float64), strict=True):
        assert relative(half.double(), exact) < 4e-2


def train(build, x, y, loss, native, steps=20):
    keras.utils.set_random_seed(1)
    model = build()
    model.compile(keras.optimizers.SGD(0.2, momentum=0.9), loss)
    if native:
        keras_dawn.accelerate(model)
    history = model.fit(x, y, batch_size=len(y) // 4, epochs=steps // 4, shuffle=False, verbose=0)
    if native:
        assert keras_dawn.explain(model).is_whole()
    return [*model.get_weights(), np.array(history.history["loss"])]


def text_classifier():
    x = inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(13, 6, mask_zero=True)(x)
    x = layers.LSTM(5, return_sequences=True, dropout=0.1)(x)
    x = layers.GRU(5, recurrent_dropout=0.1)(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_of_a_masked_text_classifier_equal_plain_keras(dtype, request):
    if dtype == "float64":
        request.getfixturevalue("true_float64")
    words = np.random.default_rng(0).integers(1, 13, (20, 8))
    words[3, 5:] = words[4, :2] = words[9, ::2] = words[12] = 0
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    results = [train(text_classifier, words, np.arange(20) % 3, loss, n) for n in (True, False)]
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_no_warning_that_cudnn_puts_the_weights_together():
    """torch warns of it in every call on a GPU; warnings of others stay."""
    before = list(warnings.filters)
    message = "RNN module weights are not part of single contiguous chunk of memory. This means"
    with kernels.weights_may_lie_apart():
        warnings.warn(message, stacklevel=1)
        with pytest.raises(UserWarning, match="of mine"):
            warnings.warn("of mine", stacklevel=1)
    assert warnings.filters == before
