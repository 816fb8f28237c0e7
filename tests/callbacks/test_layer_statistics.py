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


def statistics_in(policy, x, y):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(policy)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(1, name="last")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras_dawn.SGD(1e-6), "mse", loss_weights=[1e-7])
    statistics = LayerStatistics(x, y, every_steps=100)
    model.fit(x, y, batch_size=8, epochs=1, callbacks=[statistics], verbose=0)
    return statistics.rows


def test_small_gradients_of_half_precision_are_seen(points):
    x, y = points[0], points[1].astype("float32")[:, None]
    for half, full in zip(
        *(statistics_in(p, x, y) for p in ("mixed_float16", "float32")), strict=True
    ):
        assert full["gradient_norm"] < 1e-5  # far below what float16 holds well
        assert half["gradient_norm"] == pytest.approx(full["gradient_norm"], rel=0.02)


def test_models_of_several_inputs_and_outputs_are_looked_into():
    x = {name: np.random.default_rng(0).normal(size=(16, 3)) for name in "ba"}
    y = {"sum": np.ones((16, 1)), "twice": np.zeros((16, 2))}
    inputs = {name: keras.Input((3,), name=name) for name in "ba"}
    both = keras.layers.Dense(4, name="both")(
        keras.layers.Concatenate()([inputs["a"], inputs["b"]])
    )
    heads = {name: keras.layers.Dense(n, name=name)(both) for name, n in (("sum", 1), ("twice", 2))}
    model = keras.Model(inputs, heads)
    model.compile(keras.optimizers.SGD(0.0), {"sum": "mse", "twice": "mae"})
    statistics = LayerStatistics(x, y, every_steps=1)
    plain, watched = (
        model.fit(x, y, batch_size=8, epochs=1, callbacks=callbacks, verbose=0).history
        for callbacks in ([], [statistics])
    )
    assert plain == {name: pytest.approx(values) for name, values in watched.items()}
    rows = [row for row in statistics.rows if row["step"] == 0]
    assert [row["layer"] for row in rows] == ["both", "sum", "twice"]
    assert all(row["gradient_norm"] > 0 for row in rows)


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
