import keras_dawn
from keras_dawn.callbacks import LayerStatistics

import keras
import numpy as np
import pytest

from tests.on_device import torch


def build(accelerated):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu", name="first")(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="last")(x))
    model.compile(keras_dawn.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return keras_dawn.accelerate(model) if accelerated else model


@pytest.mark.parametrize("accelerated", [False, True])
def test_numbers_are_those_of_torch(accelerated, points):
    x, y = points
    model = build(accelerated)
    first, last = model.get_layer("first"), model.get_layer("last")
    # Of tensors of its own: with torch 2.11 a loss of the weights that is held ends captures.
    kernel, bias = (weight.value.detach().requires_grad_() for weight in first.weights)
    head, head_bias = (weight.value.detach() for weight in last.weights)
    output = torch.relu(torch.tensor(x) @ kernel + bias)
    logits = (output / (1 + 1e-3) ** 0.5) @ head + head_bias
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(y))
    slopes = torch.stack([g.norm() for g in torch.autograd.grad(loss, [kernel, bias])]).norm()
    statistics = LayerStatistics(x, y, every_steps=2)
    model.fit(x, y, batch_size=8, epochs=1, callbacks=[statistics], verbose=0)
    row, output = statistics.rows[0], output.detach()
    assert (row["step"], row["layer"]) == (0, "first")
    assert row["mean"] == pytest.approx(float(output.mean()), rel=1e-5)
    assert row["std"] == pytest.approx(float(output.std()), rel=1e-5)
    assert row["near_zero"] == pytest.approx(float((output.abs() < 0.05).float().mean()))
    assert row["gradient_norm"] == pytest.approx(float(slopes), rel=1e-4)
    assert [r["step"] for r in statistics.rows if r["layer"] == "last"] == [0, 2, 4, 5]


@pytest.mark.parametrize("accelerated", [False, True])
def test_looking_changes_nothing(accelerated, points):
    results = []
    for callbacks in ([], [LayerStatistics(*points, every_steps=1)]):
        keras.utils.set_random_seed(4)
        model = build(accelerated)
        model.fit(*points, batch_size=8, epochs=2, callbacks=callbacks, verbose=0)
        results.append(model.get_weights())
    for plain, watched in zip(*results, strict=True):
        assert np.array_equal(plain, watched)


def test_many_layers_are_thinned_out_evenly(points):
    layers = [keras.layers.Dense(4, name=f"d{n}") for n in range(20)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    statistics = LayerStatistics(*points, every_steps=100)
    model.fit(*points, epochs=1, callbacks=[statistics], verbose=0)
    names = list(dict.fromkeys(row["layer"] for row in statistics.rows))
    assert names == ["d0", "d2", "d5", "d8", "d10", "d13", "d16", "d19"]


def test_bad_settings_are_named(points):
    with pytest.raises(ValueError, match="`every_steps`"):
        LayerStatistics(*points, every_steps=0)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own()
    own.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="cannot look into own"):
        own.fit(*points, callbacks=[LayerStatistics(*points)], verbose=0)
    with pytest.raises(ValueError, match="no layer other"):
        build(False).fit(*points, callbacks=[LayerStatistics(*points, layers=["other"])], verbose=0)
