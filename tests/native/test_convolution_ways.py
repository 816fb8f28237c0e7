"""Models whose convolutions go other ways than torch's own, beside plain Keras."""

import re

import keras_dawn
from keras_dawn.convolutions import choice
from keras_dawn.native.lowering.lower import to_torch

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.convolutions.conftest import table_of
from tests.on_device import on_processor

pytestmark = on_processor  # a GPU has its own, of which cuDNN chooses


@pytest.fixture
def use(monkeypatch):
    """Puts a table in use in which every stage goes the first of these ways that can."""
    return lambda *ways: monkeypatch.setattr(choice._InUse, "table", table_of(*ways))


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(32, 3, padding="same", name="stem"),
            layers.Conv2D(40, 3, padding="same", use_bias=False, name="first"),
            layers.BatchNormalization(name="normal"),
            layers.ReLU(name="active"),
            layers.ZeroPadding2D(1, name="zeros"),
            layers.Conv2D(48, 3, strides=2, activation="relu", name="second"),
            layers.SeparableConv2D(40, 3, name="third"),
            layers.Conv2D(36, 1, name="fourth"),
            layers.Reshape((4, 36), name="series"),
            layers.Conv1D(32, 3, padding="causal", dilation_rate=2, name="fifth"),
            layers.GlobalAveragePooling1D(name="pool"),
            layers.Dense(4, name="head"),
        ]
    )


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 8, 8, 3)).astype("float32")
    return x, random.integers(0, 4, size=32)


def trained(native, frozen=(), epochs=2):
    model = network()
    for name in frozen:
        model.get_layer(name).trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    if native:
        keras_dawn.accelerate(model)
    model.fit(*data(), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("frozen", [(), ("first", "third")])
@pytest.mark.parametrize("ways", [("windows", "product"), ("beside 16", "transposed", "windows")])
def test_a_training_is_that_of_plain_keras_to_rounding(use, ways, frozen):
    use(*ways)
    ours, plain = trained(True, frozen), trained(False, frozen)
    for mine, expected in zip(ours.weights, plain.weights, strict=True):
        scale = np.abs(expected.numpy()).max() + 1e-3
        np.testing.assert_allclose(
            mine.numpy(), expected.numpy(), rtol=0, atol=1e-4 * scale, err_msg=mine.path
        )


def test_the_same_training_ends_with_the_same_bits(use):
    use("windows", "product", "transposed")
    first, second = trained(True), trained(True)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_convolution_is_one_named_call():
    code = to_torch(network()).code
    assert "stem = torch.conv2d(" in code  # three channels: torch's own is the fastest
    assert "first = keras_dawn_convolutions_conv2d(" in code
    assert "conv1d_by_ways(" in code


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_in_other_precisions_it_is_torchs(dtype):
    model = keras.Sequential([keras.Input((8, 8, 32)), layers.Conv2D(32, 3, dtype=dtype)])
    assert "keras_dawn" not in to_torch(model).code


def test_a_relu_behind_it_overwrites_the_result(use):
    use("windows", "beside 16")
    model = keras.Sequential(
        [keras.Input((4, 4, 32)), layers.Conv2D(32, 3, padding="same"), layers.ReLU()]
    )
    module = to_torch(model, training=True)
    assert "torch.relu_(" in module.code
    x = torch.ones(16, 4, 4, 32)
    torch.testing.assert_close(module(x), model(x))
    module(x).sum().backward()


def test_explain_says_the_ways_of_the_last_batch(use):
    use("windows", "product")
    model = trained(True, epochs=1)
    found = keras_dawn.explain(model).convolutions
    assert found["first"] == (
        "16 × 8×8, 32 → 40, 3×3: windows; gradient to the images: windows, to the weights: windows"
    )
    assert found["fourth"].startswith("16 × 2×2, 40 → 36, 1×1: product")
    assert found["fifth"].startswith("16 × 4, 36 → 32, 3, dilation 2: windows")
    assert found["second"].startswith("16 × 8×8, 40 → 48, 3×3, stride 2×2: windows")
    assert "stem" not in found
    assert "first  " in str(keras_dawn.explain(model))
    use()
    assert set(keras_dawn.explain(model).convolutions.values()) == {"torch's own"}
    assert "first and 5 more " in str(keras_dawn.explain(model))
    keras_dawn.convolutions.use_table("torch")
    assert re.search("their ways +by the table torch\n", str(keras_dawn.explain(model)))


def test_explain_says_the_sizes_that_convolutions_are_given(use):
    """Not those to which they are padded; and only those that are alike in all are one line."""
    use("windows")
    images, series = keras.Input((9, 8, 32)), keras.Input((9, 32))
    kinds = {"one": {}, "two": {}, "far": {"strides": 2}, "wide": {"dilation_rate": 2}}
    kinds["even"] = {"kernel_size": (2, 4)}
    common = {"filters": 32, "kernel_size": 3, "padding": "same"}
    outputs = [
        layers.Conv2D(**{**common, **settings}, name=name)(images)
        for name, settings in kinds.items()
    ]
    outputs += [
        layers.Conv1D(32, 3, strides=2, padding=padding, name=padding)(series)
        for padding in ("causal", "same")
    ]
    model = keras_dawn.accelerate(keras.Model([images, series], outputs))
    model.predict([np.zeros((2, 9, 8, 32)), np.zeros((2, 9, 32))], verbose=0)
    found = keras_dawn.explain(model).convolutions
    sizes = {name: way.partition(":")[0] for name, way in found.items()}
    assert sizes == {
        "one": "2 × 9×8, 32 → 32, 3×3",
        "two": "2 × 9×8, 32 → 32, 3×3",
        "far": "2 × 9×8, 32 → 32, 3×3, stride 2×2",
        "wide": "2 × 9×8, 32 → 32, 3×3, dilation 2×2",
        "even": "2 × 9×8, 32 → 32, 2×4",
        "causal": "2 × 9, 32 → 32, 3, stride 2",
        "same": "2 × 9, 32 → 32, 3, stride 2",
    }
    text = str(keras_dawn.explain(model))
    assert re.search("(one|two) and 1 more ", text) and re.search("(causal|same) and 1 more ", text)
    assert "far  " in text and "wide  " in text


def test_explain_runs_nothing_of_the_users(use):
    class Counted(layers.Layer):
        calls = 0

        def call(self, x):
            Counted.calls += 1
            return x * 2.0

    use("windows")
    first, last = (layers.Conv2D(32, 3, name=name) for name in ("first", "last"))
    model = keras.Sequential([keras.Input((6, 6, 32)), first, Counted(), last])
    keras_dawn.accelerate(model)
    model.predict(np.ones((2, 6, 6, 32)), verbose=0)
    before = Counted.calls
    found = keras_dawn.explain(model).convolutions
    assert found["first"].startswith("2 × 6×6, 32 → 32, 3×3: windows;")
    assert found["last"].startswith("its way is known only while it runs")
    assert Counted.calls == before


class OwnCall(keras.Model):
    """Python between two convolutions that no graph takes."""

    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(32, 3, name="first")
        self.inside = keras.Sequential([layers.Conv2D(32, 3, name="second")])

    def call(self, x):
        x = self.first(x)
        if float(keras.ops.max(keras.ops.stop_gradient(x))) > 1e9:
            x = x * 0.5
        return self.inside(x)


class OwnStep(OwnCall):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize("kind", [OwnCall, OwnStep])
def test_explain_says_the_ways_of_a_model_that_keeps_its_python(use, kind):
    use("windows")
    model = keras_dawn.accelerate(kind())
    model.compile("sgd", "mse")
    x, y = np.ones((24, 6, 6, 32), "float32"), np.ones((24, 2, 2, 32), "float32")
    assert keras_dawn.explain(model).convolutions == {}
    model.fit(x, y, batch_size=16, verbose=0)
    found = keras_dawn.explain(model).convolutions
    way = "windows; gradient to the images: windows, to the weights: windows"
    # The last batch has the 8 images that are left.
    assert found == {
        "first": f"8 × 6×6, 32 → 32, 3×3: {way}",
        "second": f"8 × 4×4, 32 → 32, 3×3: {way}",
    }


def test_a_fit_does_not_look_for_the_ways(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_dawn.native.steps.graph_report.convolution_ways",
        lambda *arguments: asked.append(1) or {},
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(32, 3), layers.Flatten()])
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    model.fit(np.zeros((4, 8, 8, 3)), np.zeros((4, 1152)), verbose=0)
    assert not asked
    keras_dawn.explain(model)
    assert asked


def test_explain_says_the_ways_of_the_call_that_was_last(use):
    use("windows")
    model = keras_dawn.accelerate(OwnCall())
    model.compile("sgd", "mse")
    for batch, size, method in ((16, 6, "fit"), (4, 6, "predict"), (16, 8, "fit"), (16, 6, "fit")):
        x = np.ones((batch, size, size, 32), "float32")
        y = np.ones((batch, size - 4, size - 4, 32), "float32")
        getattr(model, method)(*([x, y] if method == "fit" else [x]), verbose=0)
        found = keras_dawn.explain(model).convolutions
        assert found["first"].startswith(f"{batch} × {size}×{size}, "), method
        assert found["second"].startswith(f"{batch} × {size - 2}×{size - 2}, "), method


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(32, 3, padding="same", name="conv")

    def build(self, shape):
        self.conv.build(shape)
        self.built = True

    def call(self, x):
        return self.conv(x)


def test_explain_says_the_ways_of_layers_with_one_name(use):
    class Blocks(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [Block(name="a"), Block(name="b")]

        def call(self, x):
            x = self.blocks[0](x)
            if float(keras.ops.max(keras.ops.stop_gradient(x))) > 1e9:
                x = x * 0.5
            return self.blocks[1](x[:, 1:])

    use("windows")
    model = keras_dawn.accelerate(Blocks())
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 6, 6, 32), "float32"), np.ones((2, 5, 6, 32), "float32"), verbose=0)
    found = keras_dawn.explain(model).convolutions
    assert [found[name][:7] for name in ("conv", "conv_1")] == ["2 × 6×6", "2 × 5×6"]
