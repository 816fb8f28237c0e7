"""What only Keras's own call does is left to it, layer by layer."""

import keras_dawn
from keras_dawn.native import to_torch
from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.rules import RULES
from keras_dawn.native.lowering.values import Value

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.conftest import relative
from tests.native.test_rules import assert_as_keras
from tests.on_device import torch


def image_model(*between):
    return keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(4, 3, name="before"), *between, layers.Dense(2)]
    )


def hooked(layer):
    layer.register_forward_hook(lambda module, inputs, output: output * 3.0)


def prepared(layer):
    layer.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 3.0,))


def changed_backwards(layer):
    layer.register_full_backward_hook(lambda module, gradients, _: (gradients[0] * 3.0,))


def with_another_call(layer):
    layer.call = lambda x, training=None: x * 3.0


def with_lora(layer):
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))


def quantised(layer):
    layer.quantize("int8")


@pytest.mark.parametrize(
    "change", [hooked, prepared, changed_backwards, with_another_call, with_lora, quantised]
)
def test_a_layer_that_does_more_than_its_class_is_called_as_it_is(change):
    model = image_model(layers.Dense(4, name="layer"))
    change(model.get_layer("layer"))
    x = torch.randn(2, 6, 6, 3)
    results = []
    for function in (model, lower(model, False).module):
        inputs = x.clone().requires_grad_()
        outputs = function(inputs)
        outputs.square().sum().backward()
        results.append((outputs, inputs.grad))
    for ours, theirs in zip(*results, strict=True):
        assert relative(ours, theirs) < 1e-5
    assert [layer.name for layer, _ in lower(model, False).fallbacks] == ["layer"]


def test_a_class_with_another_call_has_no_rule(monkeypatch):
    monkeypatch.setattr(layers.ReLU, "call", lambda self, x: x * 2.0)
    model = image_model(layers.ReLU(name="layer"))
    x = torch.randn(2, 6, 6, 3)
    torch.testing.assert_close(to_torch(model)(x), model(x))


def test_a_layer_made_in_a_remat_scope_is_called_as_it_is():
    with keras.RematScope(mode="full"):
        layer = layers.Dense(4, name="layer")
    assert [each.name for each, _ in lower(image_model(layer), True).fallbacks] == ["layer"]


class Halve(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x):
        return x * self.factor / 2


def raises(builder, layer, inputs, call):
    builder.parameter(layer.factor, None)
    raise KeyError("unexpected")


def returns_nothing(builder, layer, inputs, call):
    pass


def returns_a_tensor(builder, layer, inputs, call):
    return Value(torch.ones(2), 1, "float32")


def returns_other_axes(builder, layer, inputs, call):
    return inputs[0].with_node(inputs[0].node, rank=2)


@pytest.mark.parametrize("rule", [raises, returns_nothing, returns_a_tensor, returns_other_axes])
def test_a_rule_that_fails_costs_one_layer(rule, true_float64, gradients_of, monkeypatch):
    monkeypatch.setitem(RULES, Halve, rule)
    model = image_model(Halve(name="halve"))
    x = torch.randn(2, 6, 6, 3, dtype=torch.float64)
    assert_as_keras(model, x, gradients_of=gradients_of, fallbacks=["halve"])


def test_a_refused_setting_leaves_nothing_of_the_rule_behind(true_float64, gradients_of):
    layer = layers.Conv2D(4, 3, name="layer")
    model = image_model(layer)
    layer.padding = "causal"  # refused when the kernel has been laid out
    lowered = lower(model, False)
    assert [each.name for each, _ in lowered.fallbacks] == ["layer"]
    assert lowered.leaves[id(layer.kernel)].tensor is layer.kernel.value


def test_a_layer_called_with_an_array_besides_its_tensor(true_float64, gradients_of):
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(4, 1)(x)
    y = layers.Concatenate(name="joined")([y, np.ones((2, 6, 6, 1))])
    y = layers.Add(name="sum")([y, np.arange(5.0).reshape(1, 1, 1, 5)])
    model = keras.Model(x, layers.Dense(2)(y))
    inputs = torch.randn(2, 6, 6, 4, dtype=torch.float64)
    (outputs, _), (expected, _), _ = gradients_of(model, inputs)
    assert relative(outputs[0], expected[0]) < 1e-11


def test_weights_of_layers_called_as_they_are_belong_to_the_module():
    model = image_model(layers.PReLU(), Halve())
    assert len(list(to_torch(model).parameters())) == len(model.variables) == 6


def test_a_shared_layer_called_in_both_ways_gets_its_whole_gradient(true_float64):
    shared = layers.Dense(3, name="shared")

    class Tied(layers.Layer):
        def __init__(self, layer, **kwargs):
            super().__init__(**kwargs)
            self.layer = layer

        def call(self, x):
            return ops.matmul(x, ops.transpose(self.layer.kernel))

    x = keras.Input((3,))
    model = keras.Model(x, Tied(shared, name="tied")(shared(x)))
    inputs = torch.randn(4, 3, dtype=torch.float64)
    model(inputs).square().sum().backward()
    expected = shared.kernel.value.grad.clone()
    model.zero_grad()
    lowered = lower(model, True, masks=False)
    lowered.module(inputs).square().sum().backward()
    leaf = lowered.leaves[id(shared.kernel)]
    assert relative(leaf.transform.undo(leaf.tensor.grad, (3, 3)), expected) < 1e-12
    assert [layer.name for layer, _ in lowered.fallbacks] == ["tied"]


def test_nested_models_are_called_by_name_and_with_their_inputs_dtypes(true_float64, gradients_of):
    first, second = keras.Input((3,), name="z"), keras.Input((3,), name="a")
    inner = keras.Model([first, second], layers.Dense(2)(first - 2.0 * second))
    whole = keras.Input((3,), dtype="int32", name="whole")
    numbers = keras.Model(whole, ops.cast(whole, "float64"))
    x = keras.Input((3,))
    y = inner({"a": layers.Dense(3)(x), "z": layers.Dense(3)(x)})
    model = keras.Model(x, [y, numbers(10.0 * x)])
    inputs = torch.randn(4, 3, dtype=torch.float64)
    assert_as_keras(model, inputs, gradients_of=gradients_of, fallbacks=[])


def test_a_layer_of_several_tensors_is_called_as_it_is(true_float64, gradients_of):
    x, y = keras.Input((3,)), keras.Input((3,))
    one, other = layers.Identity(name="both")([layers.Dense(3)(x), y])
    model = keras.Model([x, y], one + 2.0 * other)
    inputs = [torch.randn(4, 3, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(model, *inputs, gradients_of=gradients_of, fallbacks=["both"])


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_a_mask_goes_into_a_nested_model_of_another_dtype():
    keras.config.set_dtype_policy("mixed_bfloat16")
    inner_input = keras.Input((5, 4))
    inner = keras.Model(inner_input, layers.GlobalAveragePooling1D()(inner_input))
    x = keras.Input((5,), dtype="int32")
    model = keras.Model(x, inner(layers.Embedding(7, 4, mask_zero=True)(x)))
    inputs = torch.tensor([[1, 2, 0, 0, 0], [3, 0, 0, 0, 0]], dtype=torch.int32)
    torch.testing.assert_close(to_torch(model)(inputs), model(inputs))


class OtherMode(layers.Layer):
    """Hands another mode than its own on to a layer inside."""

    def build(self, shape):
        self.norm = layers.BatchNormalization()
        self.norm.build(shape)

    def call(self, x, training=None):
        return self.norm(x, training=True)


class OwnNorm(layers.Layer):
    """Has a layer that cares for the mode, and no `training` argument."""

    def build(self, shape):
        self.norm = layers.BatchNormalization(momentum=0.5)
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x)


def test_every_layer_of_a_graph_is_told_the_graphs_mode():
    model = keras.Sequential([keras.Input((3,)), OtherMode(), OwnNorm(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    expected = model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    assert relative(torch.tensor(model.predict(x, verbose=0)), torch.tensor(expected)) < 1e-6
    assert (model.layers[1].norm.moving_mean.numpy() == 0).all()


class OwnWeight(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


@pytest.mark.parametrize("nested", [False, True])
def test_a_layer_without_autocast_reads_its_weights_as_inside_the_model(nested):
    own = OwnWeight(autocast=False, dtype="mixed_bfloat16")
    inner = [layers.Dense(4, dtype="mixed_bfloat16"), own]
    if nested:
        inner = [keras.Sequential(inner, name="inner")]
        inner[0].dtype_policy = "mixed_bfloat16"
    model = keras.Sequential([keras.Input((3,)), *inner])
    if not nested:
        model.dtype_policy = "mixed_bfloat16"
    x = torch.randn(5, 3)
    expected = model(x)
    assert expected.dtype == torch.float32  # outside a model Keras gives bfloat16
    module = to_torch(model)
    assert module(x).dtype == torch.float32
    torch.testing.assert_close(module(x), expected)
