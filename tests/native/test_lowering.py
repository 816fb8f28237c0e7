import keras_dawn
from keras_dawn.native import LoweringError, to_torch
from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules.batch_normalization import batch_norm_in_training
from keras_dawn.native.lowering.values import Value

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.own_models import GAN
from tests.on_device import torch


def small_net():
    return keras_dawn.models.WideResNet(10, 1)


def test_the_code_reads_as_straight_pytorch():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.ZeroPadding2D(1, name="pad"),
            layers.Conv2D(4, 3, use_bias=False, name="stem"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(2, name="head"),
        ]
    )
    code = to_torch(model).code
    assert "stem = torch.conv2d(permute, stem_kernel, None, (1, 1), (1, 1), (1, 1), 1)" in code
    assert "relu = torch.relu_(bn)" in code
    assert "pad" not in code  # folded into the convolution
    assert "head = torch._C._nn.linear(pool, head_kernel, head_bias)" in code


def test_the_training_code_too_reuses_what_a_normalisation_returns():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization(), layers.ReLU()])
    code = lower(model, training=True, collect_statistics=True).module.code
    assert "batch_norm_in_training" in code and "torch.relu_(" in code


@pytest.mark.parametrize("trainable", [True, False])
def test_torch_s_batch_normalisation_gets_a_gamma_wherever_it_has_a_beta(trainable):
    """On CUDA its backward pass fails else (torch 2.11 to 2.14)."""
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization(scale=False)])
    model.layers[0].trainable = trainable
    module = lower(model, training=True, collect_statistics=True).module
    functions = batch_norm_in_training, torch.batch_norm
    (call,) = (node for node in module.graph.nodes if node.target in functions)
    gamma, beta = call.args[1:3]
    assert torch.equal(getattr(module, gamma.target), torch.ones(3))
    assert getattr(module, beta.target).shape == (3,)


def test_weights_are_shared_both_ways():
    model = small_net()
    module = to_torch(model)
    x = torch.randn(2, 32, 32, 3)
    before = module(x).detach().clone()
    model.set_weights([w + 0.01 for w in model.get_weights()])
    torch.testing.assert_close(module(x), model(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(module(x), before)
    with torch.no_grad():
        module.stem_kernel.mul_(2.0)
    kernel = model.get_layer("stem").kernel.value.detach()
    torch.testing.assert_close(kernel.permute(3, 2, 0, 1), module.stem_kernel.detach())
    assert kernel.data_ptr() == module.stem_kernel.data_ptr()
    assert module.stem_kernel.is_contiguous(memory_format=torch.channels_last)


def test_lowering_changes_no_weight():
    model = small_net()
    before = [w.copy() for w in model.get_weights()]
    to_torch(model)
    to_torch(model, training=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_hand_written_loop_can_train_it():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
    module = to_torch(model, training=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    x = torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
    predictions = model.predict(x.cpu().numpy(), verbose=0)
    assert np.abs(predictions - y.cpu().numpy()).mean() < 0.2


@pytest.mark.parametrize(
    "sum_like",
    [
        lambda x: layers.Conv2D(3, 3, padding="same")(x),
        lambda x: layers.BatchNormalization()(x),
        lambda x: layers.Add()([x, layers.Conv2D(3, 3, padding="same")(x)]),
    ],
    ids=["convolution", "normalisation", "sum"],
)
@pytest.mark.parametrize(
    "reader",
    [
        lambda x: layers.Subtract()([layers.ReLU()(x), x]),
        lambda x: layers.Add()([layers.ReLU()(x), layers.Activation("tanh")(x)]),
        lambda x: (layers.ReLU()(x), x),
    ],
    ids=["difference", "activation", "output"],
)
def test_a_relu_spares_an_input_that_is_read_elsewhere(
    sum_like, reader, true_float64, gradients_of
):
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, reader(sum_like(inputs)))
    x = torch.randn(2, 5, 5, 3, dtype=torch.float64)
    (outputs, gradients), (expected, expected_gradients), _ = gradients_of(model, x)
    torch.testing.assert_close(outputs, list(expected))
    torch.testing.assert_close(gradients, expected_gradients)
    answers = keras.tree.flatten(to_torch(model)(x))
    torch.testing.assert_close(answers, keras.tree.flatten(model(x)))


def test_a_relu_spares_what_the_gradient_of_its_input_needs(true_float64, gradients_of):
    """The derivatives of a sigmoid and of a maximum are computed from their outputs."""
    x = inputs = keras.Input((6, 6, 3))
    for layer in (layers.Activation("sigmoid"), layers.MaxPooling2D(2), layers.Dropout(0.0),
                  layers.Activation("tanh"), layers.Activation("elu")):  # fmt: skip
        x = layers.ReLU()(layer(layers.Conv2D(3, 3, padding="same")(x)))
    model = keras.Model(inputs, x)
    x = torch.randn(2, 6, 6, 3, dtype=torch.float64)
    (outputs, gradients), (expected, expected_gradients), _ = gradients_of(model, x)
    torch.testing.assert_close(outputs, list(expected))
    torch.testing.assert_close(gradients, expected_gradients)


def test_a_relu_leaves_the_images_it_is_given_alone():
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.ReLU()])
    x = torch.randn(2, 4, 4, 3)
    before = x.clone()
    torch.testing.assert_close(to_torch(model)(x), before.relu())
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "before, zeros, size, folded",
    [
        (layers.ReLU, 1, 3, True),
        (layers.ReLU, 1, 2, True),
        (layers.ReLU, (1, 0), (2, 1), True),
        (layers.ReLU, 2, 3, False),  # torch pads at most half a window
        (lambda: layers.Activation("tanh"), 1, 3, False),  # zeros are the highest of some windows
        (layers.BatchNormalization, 1, 3, False),
    ],
    ids=["pool of 3", "pool of 2", "one axis", "zeros too wide", "tanh", "normalisation"],
)
def test_a_highest_of_pixels_after_a_relu_needs_no_copy_with_zeros(
    before, zeros, size, folded, true_float64, gradients_of
):
    inputs = keras.Input((7, 6, 3))
    x = before()(layers.Conv2D(4, 1, bias_initializer=keras.initializers.Constant(-1.0))(inputs))
    model = keras.Model(inputs, layers.MaxPooling2D(size, 2)(layers.ZeroPadding2D(zeros)(x)))
    x = torch.randn(3, 7, 6, 3, dtype=torch.float64)
    (outputs, gradients), (expected, expected_gradients), _ = gradients_of(model, x)
    torch.testing.assert_close(outputs, list(expected))
    torch.testing.assert_close(gradients, expected_gradients)
    code = to_torch(model).code
    torch.testing.assert_close(to_torch(model)(x), model(x))
    assert ("torch._C._nn.pad(" not in code) == folded, code


@pytest.mark.parametrize("momentum", [0.9, 0.6])
def test_moving_averages_of_the_training_code_are_torchs(momentum):
    """Keras's momentum is one minus torch's, and torch corrects the variance."""
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.BatchNormalization(momentum=momentum)])
    theirs = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=1 - momentum)
    module = to_torch(model, training=True)
    for step in range(3):
        x = torch.randn(5, 4, 4, 3) + step
        theirs.to(x.device)
        torch.testing.assert_close(module(x).permute(0, 3, 1, 2), theirs(x.permute(0, 3, 1, 2)))
    norm = model.layers[0]
    torch.testing.assert_close(norm.moving_mean.value.detach(), theirs.running_mean)
    torch.testing.assert_close(norm.moving_variance.value.detach(), theirs.running_var)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, activation="relu")
        self.norm = layers.BatchNormalization()
        self.head = layers.Dense(2)

    def call(self, x, training=False):
        x = self.norm(self.conv(x), training=training)
        return self.head(keras.ops.mean(x, axis=(1, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: Subclassed(), "a subclassed model: its `call` is Python"),
        (lambda: GAN(), "without a `call`: .* of layers: to_torch.model.generator., to_torch"),
        (lambda: "model", "Expected a keras.Model"),
    ],
)
def test_what_cannot_be_lowered_says_why(make, message):
    with pytest.raises(LoweringError, match=message):
        to_torch(make())


class Halve(layers.Layer):
    def call(self, x):
        return x / 2


def test_a_rule_of_ones_own():
    from keras_dawn.native.lowering.rules import RULES

    @keras_dawn.rule(Halve)
    def halve(builder, layer, inputs, call):
        (x,) = inputs
        return Value(builder.call(torch.mul, builder.keras_order(x), 0.5), x.rank, x.dtype)

    try:
        model = keras.Sequential([keras.Input((4,)), Halve()])
        x = torch.randn(2, 4)
        torch.testing.assert_close(to_torch(model)(x), x / 2)
        assert not keras_dawn.explain(model).fallbacks
    finally:
        del RULES[Halve]
    assert AS_IS.permutation is None


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_follows_the_policy(policy):
    keras.config.set_dtype_policy(policy)
    model = small_net()
    x = torch.randn(8, 32, 32, 3)
    with torch.no_grad():
        ours, theirs = to_torch(model)(x), model(x)
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
    assert all(p.dtype == torch.float32 for p in to_torch(model).parameters())  # masters
