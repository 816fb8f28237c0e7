"""States that a recurrent layer is given, returns and keeps; masks that it is given."""

import keras_dawn
from keras_dawn.native.lowering import lower
from keras_dawn.native.steps.graph_way import GraphWay
from keras_dawn.native.steps.preparation import make_forward

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.native.cuda_emulator import cuda_graphs_on_a_cpu
from tests.native.recurrent_models import (
    FEATURES,
    STEPS,
    assert_as_keras,
    batch,
)
from tests.on_device import torch


def encoder_and_decoder(**settings):
    """Words to words: the decoder begins with the encoder's states."""
    given, before = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embedding = layers.Embedding(11, 4, **settings)
    _, h, c = layers.LSTM(5, return_state=True)(embedding(given))
    decoder = layers.LSTM(5, return_sequences=True, return_state=True)
    x, _, last = decoder(embedding(before), initial_state=[h, c])
    return keras.Model([given, before], [layers.Dense(11)(x), last])


@pytest.mark.parametrize("settings", [{}, {"mask_zero": True}])
def test_an_encoder_and_a_decoder(settings, true_float64):
    model = encoder_and_decoder(**settings)
    words = [torch.randint(1, 11, (4, length), dtype=torch.int32) for length in (6, 5)]
    words[0][0, 4:] = words[0][1] = words[1][2, 3:] = 0
    assert_as_keras(model, *words)


def test_an_initial_state_of_a_gru_and_of_a_stack(true_float64):
    x, h, c = keras.Input((STEPS, FEATURES)), keras.Input((4,)), keras.Input((4,))
    gru = layers.GRU(4, return_state=True)(x, [h])
    cells = [layers.LSTMCell(4), layers.GRUCell(4)]
    stack = layers.RNN(cells, return_state=True)(x, initial_state=[[h, c], [c]])
    model = keras.Model([x, h, c], [*gru, *keras.tree.flatten(stack)])
    states = [torch.randn(4, 4, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(model, batch(), *states)


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.3, 0.5)])
def test_one_initial_state_for_all_sequences(rates, true_float64):
    x = keras.Input((STEPS, FEATURES))
    h, c = (keras.Input(batch_shape=(1, 4)) for _ in range(2))
    dropout = {"dropout": rates[0], "recurrent_dropout": rates[1]}
    lstm = layers.LSTM(4, **dropout)(layers.Masking()(x), initial_state=[h, c])
    both = layers.Bidirectional(layers.GRU(4, **dropout))(x, initial_state=[h, c])
    model = keras.Model([x, h, c], [lstm, both])
    states = [torch.randn(1, 4, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(model, batch(masked=True), *states)


def test_a_mask_that_is_given(true_float64):
    x, mask = keras.Input((STEPS, FEATURES)), keras.Input((STEPS,), dtype="bool")
    lstm = layers.LSTM(4, return_state=True)
    model = keras.Model([x, mask], list(lstm(x, mask=mask)))
    inputs = batch()
    inputs[2, 1] = np.inf  # a masked step may hold anything
    counts = torch.tensor([[1] * 7, [0] * 7, [1, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]]).bool()
    for training in (False, True):
        expected = model([inputs, counts], training=training)
        found = lower(model, training).module(inputs, counts)
        for one, other in zip(found, expected, strict=True):
            assert relative(one, other) < 1e-12


# Where nothing is masked Keras (3.15) only trains stateful ones with `use_cudnn=False`: else it
# overwrites the states before the backward pass has read them, which is an error of torch's.
STATEFUL = {
    "LSTM": lambda: layers.LSTM(4, stateful=True, use_cudnn=False),
    "masked": lambda: layers.LSTM(4, stateful=True),
    "stack": lambda: layers.RNN(
        [layers.GRUCell(4), layers.LSTMCell(4)], stateful=True, go_backwards=True
    ),
    "SimpleRNN": lambda: layers.SimpleRNN(4, activation="sigmoid", stateful=True),
}


@pytest.mark.parametrize("name", STATEFUL)
def test_states_are_kept_in_the_keras_variables(name, true_float64):
    x = inputs = keras.Input(batch_shape=(4, STEPS, FEATURES))
    if name == "masked":
        x = layers.Masking()(x)
    layer = STATEFUL[name]()
    model = keras.Model(inputs, layers.Dense(2)(layer(x)))
    lowered = lower(model, True)
    assert not lowered.fallbacks
    assert lowered.changes_state

    def three_calls(call):
        for state in keras.tree.flatten(layer.states):
            state.assign(torch.zeros(4, 4))
        outputs = [call(batch(name == "masked")) for _ in range(3)]
        sum(outputs).sum().backward()
        return outputs[-1], [v.numpy().copy() for v in keras.tree.flatten(layer.states)]

    torch.manual_seed(1)
    expected, expected_states = three_calls(lambda x: model(x, training=True))
    torch.manual_seed(1)
    found, states = three_calls(lowered.module)
    assert relative(found, expected) < 1e-12
    for one, other in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    if name != "stack":  # of whose states Keras cannot say it
        layer.reset_states()
        assert not any(v.numpy().any() for v in keras.tree.flatten(layer.states))
    with pytest.raises(ValueError, match="batch of the size"):
        lowered.module(batch()[:2])


def test_no_cuda_graph_is_made_of_a_layer_that_keeps_states():
    # Its trial runs would move the states on.
    made = {}
    for stateful in (False, True):
        x = keras.Input(batch_shape=(2, STEPS, FEATURES))
        model = keras.Model(x, layers.LSTM(4, stateful=stateful)(x))
        model.compile("sgd", "mse")
        forward = make_forward(model, compile=False, way=GraphWay())
        forward.lower_training()
        with cuda_graphs_on_a_cpu():
            made[stateful] = forward.why_no_graph() is None
    assert made == {False: True, True: False}


def test_an_accelerated_stateful_layer_goes_on_where_it_stopped():
    def run(native):
        keras.utils.set_random_seed(1)
        x = inputs = keras.Input(batch_shape=(5, STEPS, FEATURES))
        layer = layers.LSTM(4, stateful=True, use_cudnn="auto" if native else False)
        model = keras.Model(inputs, layers.Dense(1)(layer(x)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if native:
            keras_dawn.accelerate(model)
        data = np.random.default_rng(0).normal(size=(20, STEPS, FEATURES)).astype("float32")
        model.fit(data, data[:, 0, :1], batch_size=5, epochs=2, shuffle=False, verbose=0)
        return [*model.get_weights(), model.predict(data, batch_size=5, verbose=0),
                *[state.numpy() for state in layer.states]]  # fmt: skip

    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_states_go_on_in_half_precision_where_plain_keras_loses_them():
    def answers(native, policy):
        keras.utils.set_random_seed(1)
        layer = layers.LSTM(4, stateful=True, dtype=policy)
        model = keras.Sequential([keras.Input(batch_shape=(5, STEPS, FEATURES)), layer])
        if native:
            keras_dawn.accelerate(model)
        data = np.random.default_rng(0).normal(size=(5, STEPS, FEATURES)) + 0.5
        return np.float32([model.predict_on_batch(data) for _ in range(2)])

    exact, half = answers(False, "float32"), answers(True, "mixed_bfloat16")
    assert np.abs(exact[0] - exact[1]).max() > 0.04  # the second batch begins elsewhere
    np.testing.assert_allclose(half, exact, rtol=0, atol=0.01)
