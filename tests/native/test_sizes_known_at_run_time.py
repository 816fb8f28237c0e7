"""Recurrent layers behind one that is called as it is, whose sizes are known when a batch comes."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

SERIES = {
    "LSTM": (lambda: layers.LSTM(3, return_sequences=True), (5, 4)),
    "GRU": (lambda: layers.GRU(3), (5, 4)),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), (5, 4)),
    "stack": (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), (5, 4)),
    "both directions": (lambda: layers.Bidirectional(layers.LSTM(3)), (5, 4)),
    "one direction after the other": (
        lambda: layers.Bidirectional(layers.GRU(3, activation="relu")), (5, 4)
    ),
    "ConvLSTM": (lambda: layers.ConvLSTM1D(3, 2), (5, 6, 4)),
}  # fmt: skip


class Counted(layers.Layer):
    """A layer that is called as it is: its Python does more than compute."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return x + 1.0


def trained(make, shape, accelerate):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([Counted(), make(), layers.Flatten(), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    if accelerate:
        keras_dawn.accelerate(model)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(12, *shape)), generator.normal(size=(12, 2))
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    return model, [*history, model.predict(x, batch_size=4, verbose=0), *model.get_weights()]


@pytest.mark.parametrize("name", SERIES)
def test_they_are_native_and_refuse_what_their_weights_are_not_for(name):
    make, shape = SERIES[name]
    plain, expected = trained(make, shape, False)
    ours, found = trained(make, shape, True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    (left,) = keras_dawn.explain(ours).fallbacks
    assert "Python of its own" in str(keras_dawn.explain(ours)) and "counted" in str(left)
    wider = np.ones((4, *shape[:-1], shape[-1] + 1), "float32")
    with pytest.raises((ValueError, RuntimeError)):
        plain.predict_on_batch(wider)
    size = shape[-1]
    with pytest.raises(ValueError, match=rf"is for inputs of shape \(None, .*{size}\), and it was"):
        ours.predict_on_batch(wider)
