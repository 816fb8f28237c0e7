"""Recurrent layers against plain Keras, in float64: outputs, states, gradients, random draws."""

import pickle

import keras_dawn
from keras_dawn.native import to_torch
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.conftest import relative

STEPS, FEATURES = 7, 3


def of_one_layer(layer, masked=False):
    """A model of a dense layer, perhaps a mask of zeros, and one recurrent layer."""
    x = inputs = keras.Input((STEPS, FEATURES))
    x = layers.Masking()(x) if masked else layers.Dense(FEATURES, name="before")(x)
    return keras.Model(inputs, layer(x))


def batch(masked=False, size=4):
    """Sequences; with masked steps before, amid and after others, and one of nothing else."""
    x = torch.randn(size, STEPS, FEATURES, dtype=getattr(torch, keras.config.floatx()))
    if masked:
        x[0, 5:] = 0
        x[1, :2] = 0
        x[2, [1, 3, 6]] = 0
        x[3] = 0
    return x


def everything(call, variables, *inputs):
    """Outputs, gradients of inputs and of variables, and where the random numbers stand."""
    torch.manual_seed(3)
    inputs = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = keras.tree.flatten(call(*inputs))
    after = torch.get_rng_state()
    generator = torch.Generator().manual_seed(5)
    directions = [torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in outputs]
    total = sum((y * d).sum() for y, d in zip(outputs, directions, strict=True))
    of_inputs = [x for x in inputs if x.requires_grad]
    gradients = torch.autograd.grad(total, of_inputs + variables, allow_unused=True)
    return outputs, gradients, after


def assert_as_keras(model, *inputs, fallbacks=(), tolerance=1e-11):
    """The lowered model computes what the model does, in either mode."""
    states = [w.copy() for w in model.get_weights()]
    for training in (False, True):

        def keras_call(*inputs, training=training):
            return model(list(inputs) if len(inputs) > 1 else inputs[0], training=training)

        lowered = lower(model, training, collect_statistics=training)
        assert [layer.name for layer, _ in lowered.fallbacks] == list(fallbacks)

        def native_call(*inputs, lowered=lowered, training=training):
            outputs = lowered.module(*inputs)
            return outputs[0] if training or lowered.masked else outputs

        variables = [leaf.variable for leaf in lowered.leaves.values()]
        theirs = everything(keras_call, [v.value for v in variables], *inputs)
        leaves = [leaf.tensor for leaf in lowered.leaves.values()]
        ours = everything(native_call, leaves, *inputs)
        for one, other in zip(ours[0], theirs[0], strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            assert relative(one, other) < tolerance
        undone = [
            None if g is None else leaf.transform.undo(g, tuple(leaf.variable.shape))
            for g, leaf in zip(ours[1][-len(leaves) :], lowered.leaves.values(), strict=True)
        ]
        found = [*ours[1][: -len(leaves)], *undone]
        for one, other in zip(found, theirs[1], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert float((one - other).abs().max()) < tolerance * 10
        assert torch.equal(ours[2], theirs[2])
    for weight, before in zip(model.get_weights(), states, strict=True):
        np.testing.assert_array_equal(weight, before)


RECURRENT = {
    "LSTM": lambda **k: layers.LSTM(4, **k),
    "GRU": lambda **k: layers.GRU(4, **k),
    "GRU-before": lambda **k: layers.GRU(4, reset_after=False, **k),
    "SimpleRNN": lambda **k: layers.SimpleRNN(4, **k),
    "LSTMCell": lambda **k: layers.RNN(layers.LSTMCell(4), **k),
    "GRUCell": lambda **k: layers.RNN(layers.GRUCell(4), **k),
    "stack": lambda **k: layers.RNN(
        [layers.LSTMCell(4), layers.GRUCell(5), layers.SimpleRNNCell(3)], **k
    ),
}
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


BIDIRECTIONAL = {
    "LSTM": lambda: layers.LSTM(4, return_sequences=True),
    "last": lambda: layers.LSTM(4),
    "states": lambda: layers.LSTM(4, return_state=True),
    "GRU": lambda: layers.GRU(4, return_sequences=True, return_state=True),
    "SimpleRNN": lambda: layers.SimpleRNN(4),
    "relu": lambda: layers.GRU(4, activation="relu"),
    "dropout": lambda: layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2),
    "cells": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], return_sequences=True),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", BIDIRECTIONAL)
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_both_directions(name, merge, masked, true_float64):
    if merge != "concat" and name not in ("LSTM", "states", "cells"):
        pytest.skip("merged as the others are")
    layer = layers.Bidirectional(BIDIRECTIONAL[name](), merge_mode=merge)
    assert_as_keras(of_one_layer(layer, masked), batch(masked))


def test_directions_of_different_layers_and_initial_states(true_float64):
    x, h, c = keras.Input((STEPS, FEATURES)), keras.Input((4,)), keras.Input((4,))
    backward = layers.LSTM(4, activation="relu", go_backwards=True, return_sequences=True)
    forward = layers.GRU(4, return_sequences=True)
    y = layers.Bidirectional(forward, backward_layer=backward)(x)
    z = layers.Bidirectional(layers.LSTM(4))(x, initial_state=[h, c, c, h])
    states = [torch.randn(4, 4, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(keras.Model([x, h, c], [y, z]), batch(), *states)


IMAGES = {
    "1D": (1, {}),
    "2D": (2, {"padding": "same", "return_sequences": True, "return_state": True}),
    "3D": (3, {"padding": "same", "activation": "relu"}),
    "strides": (2, {"padding": "same", "strides": 2, "use_bias": False, "go_backwards": True}),
    "dilation": (2, {"dilation_rate": 2, "return_state": True}),
    "dropout": (2, {"dropout": 0.3, "recurrent_dropout": 0.2}),
    "channels first": (2, {"data_format": "channels_first", "dropout": 0.2, "padding": "same"}),
    "stateful": (1, {"stateful": True}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", IMAGES)
def test_convolutions_over_time(name, masked, true_float64):
    rank, settings = IMAGES[name]
    sizes = (6, 5, 4)[:rank]
    shape = (2, *sizes) if name == "channels first" else (*sizes, 2)
    inputs, mask = keras.Input(batch_shape=(3, 4, *shape)), keras.Input((4,), dtype="bool")
    layer = getattr(layers, f"ConvLSTM{rank}D")(3, 2 if rank == 3 else 3, **settings)
    x = layers.Rescaling(0.5)(inputs)
    outputs = keras.tree.flatten(layer(x, mask=mask) if masked else layer(x))
    model = keras.Model([inputs, mask] if masked else inputs, outputs)
    x = [torch.randn(3, 4, *shape, dtype=torch.float64)]
    if masked:
        x.append(torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]]).bool())
    if name != "stateful":
        assert_as_keras(model, *x)
        return
    calls = [lower(model, False).module, lambda *x: model(list(x) if masked else x[0])]
    for call in calls:
        for state in layer.states:
            state.assign(keras.ops.zeros_like(state))
        calls[calls.index(call)] = [call(*x), call(*x), layer.states[1].value.clone()]
    for one, other in zip(*calls, strict=True):
        assert relative(one, other) < 1e-12


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "SimpleRNN"])
def test_outputs_of_masked_steps(name, sequences, zero, true_float64):
    layer = RECURRENT[name](return_sequences=sequences, zero_output_for_mask=zero)
    assert_as_keras(of_one_layer(layer, True), batch(True))


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
    assert lowered.keeps_state

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


def small_network():
    return keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.BatchNormalization(trainable=False),
         layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )  # fmt: skip


EVERY_STEP = {
    "Dense": (lambda: layers.Dense(4, "relu"), (5,), False),
    "Conv2D": (lambda: layers.Conv2D(3, 3, padding="same"), (6, 5, 2), False),
    "LSTM": (lambda: layers.LSTM(3), (4, 2), False),
    "network": (small_network, (6, 6, 2), True),
}


@pytest.mark.parametrize("name", EVERY_STEP)
def test_a_layer_in_every_step(name, true_float64):
    make, shape, as_it_is = EVERY_STEP[name]
    inputs = keras.Input((None, *shape))
    x = layers.Rescaling(0.5)(inputs)
    model = keras.Model(inputs, layers.TimeDistributed(make(), name="each")(x))
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    if not as_it_is:
        assert_as_keras(model, x)
        return
    lowered = lower(model, False)
    assert not lowered.fallbacks
    assert relative(lowered.module(x), model(x, training=False)) < 1e-12
    assert [layer.name for layer, _ in lower(model, True).fallbacks] == ["each"]


def test_a_layer_in_every_step_of_masked_sequences(true_float64):
    layer = layers.TimeDistributed(layers.Dense(4))
    x = inputs = keras.Input((STEPS, FEATURES))
    x = layer(layers.Masking()(x))
    assert_as_keras(keras.Model(inputs, layers.LSTM(3)(x)), batch(True))


@pytest.mark.parametrize(
    "inner", [lambda: layers.Dropout(0.5), lambda: layers.BatchNormalization()]
)
def test_steps_that_depend_on_each_other_are_left_to_keras(inner, true_float64):
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layers.TimeDistributed(inner(), name="each")(inputs))
    assert [layer.name for layer, _ in lower(model, True).fallbacks] == ["each"]
    assert not lower(model, False).fallbacks


class Tagger(keras.Model):
    """A model whose Python is its own."""

    def __init__(self):
        super().__init__()
        self.both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
        self.states = layers.GRU(4, return_sequences=True, return_state=True)
        self.head = layers.TimeDistributed(layers.Dense(2))

    def call(self, x):
        sequence, state = self.states(self.both(x))
        return self.head(sequence + state[:, None])


def test_recurrent_layers_in_python_of_ones_own_compute_natively():
    x = np.random.default_rng(0).normal(size=(12, STEPS, FEATURES)).astype("float32")
    results = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = Tagger()
        model(x[:4])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if native:
            keras_dawn.accelerate(model)
        model.fit(x, x[..., :2], batch_size=4, epochs=2, shuffle=False, verbose=0)
        if native:
            explanation = keras_dawn.explain(model)
            assert not explanation.fallbacks
            assert {"Bidirectional", "GRU", "TimeDistributed"} <= set(explanation.layers)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
