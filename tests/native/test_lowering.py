import keras_dawn
from keras_dawn.native import LoweringError, to_torch
from keras_dawn.native.lowering.graph import AS_IS, Value

import keras
import numpy as np
import pytest
import torch
from keras import layers


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
    predictions = model.predict(x.numpy(), verbose=0)
    assert np.abs(predictions - y.numpy()).mean() < 0.2


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, activation="relu")
        self.norm = layers.BatchNormalization()
        self.head = layers.Dense(2)

    def call(self, x, training=False):
        x = self.norm(self.conv(x), training=training)
        return self.head(keras.ops.mean(x, axis=(1, 2)))


def test_a_subclassed_model_is_traced():
    model = Subclassed()
    x = torch.randn(3, 8, 8, 3)
    model(x)
    torch.testing.assert_close(to_torch(model)(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.Sequential([layers.Dense(2)]), "not built"),
        (lambda: Subclassed(), "no graph could be made"),
        (
            lambda: keras.Sequential(
                [keras.Input((3,)), layers.Embedding(4, 2, mask_zero=True), layers.LSTM(2)]
            ),
            "makes a mask",
        ),
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
