import keras_dawn
from keras_dawn.models import ResNet
from keras_dawn.models.pretrained import load_state_dict

import keras
import numpy as np
import pytest
import torchvision

from tests.on_device import torch


def randomized(theirs):
    """Random statistics and scales, so that a mistake in any of them shows."""
    generator = torch.Generator().manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    return theirs.eval()


@pytest.mark.parametrize("depth, parameters", [(18, 11_689_512), (34, 21_797_672),
                                               (50, 25_557_032)])  # fmt: skip
def test_parameter_counts_are_the_published_ones(depth, parameters):
    model = ResNet(depth)
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert trainable == parameters


def test_resnet50_gives_torchvisions_outputs_at_every_size():
    theirs = randomized(torchvision.models.resnet50(weights=None))
    model = ResNet(50)
    load_state_dict(model, theirs.state_dict())
    for size in (128, 224, 288):
        x = torch.randn(1, size, size, 3, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = theirs.to(x.device)(x.permute(0, 3, 1, 2))
            ours = model(x, training=False)
            lowered = keras_dawn.to_torch(model)(x)
        scale = expected.abs().max()
        assert float((ours - expected).abs().max() / scale) < 1e-5
        assert float((lowered - expected).abs().max() / scale) < 1e-5


def test_resnet18_gives_torchvisions_outputs_and_averages_and_torch_fills_it_alike():
    theirs = randomized(torchvision.models.resnet18(weights=None, num_classes=7))
    model = ResNet(18, classes=7)
    for layer in ("conv1", "layer2_0_conv1", "layer4_1_conv2"):
        kernel = model.get_layer(layer).kernel
        fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[3]
        assert float(kernel.value.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    load_state_dict(model, theirs.state_dict())
    x = torch.randn(2, 64, 80, 3)
    with torch.no_grad():
        expected = theirs.to(x.device)(x.permute(0, 3, 1, 2))
        difference = (model(x, training=False) - expected).abs().max() / expected.abs().max()
        assert float(difference) < 1e-5
        theirs.train()(x.permute(0, 3, 1, 2))
        keras_dawn.to_torch(model, training=True)(x)
    for ours, name in (("bn1", "bn1"), ("layer1_0_bn2", "layer1.0.bn2"),
                       ("layer2_0_downsample_1", "layer2.0.downsample.1")):  # fmt: skip
        layer, norm = model.get_layer(ours), theirs.get_submodule(name)
        pairs = (layer.moving_mean, norm.running_mean), (layer.moving_variance, norm.running_var)
        for moving, running in pairs:
            torch.testing.assert_close(moving.value.detach(), running, rtol=1e-3, atol=1e-4)


OPTIONS = [
    {}, {"blur_pool": True}, {"resnet_d": True}, {"zero_init_gamma": True},
    {"blur_pool": True, "resnet_d": True, "activation": "mish"},
]  # fmt: skip


# Keras sometimes warns about lists that hold nothing but layers it has loaded already.
@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize(
    "depth, options",
    [(18, each) for each in OPTIONS]
    + [(50, {}), (50, OPTIONS[-1])]
    + [pytest.param(50, each, marks=pytest.mark.slow) for each in OPTIONS[1:-1]],
)
def test_every_option_trains_native_at_any_size_and_round_trips(depth, options, tmp_path):
    model = ResNet(depth, classes=3, **options)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    explanation = keras_dawn.explain(model)
    assert explanation.native and not explanation.fallbacks
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for size in (32, 48):
        x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
        expected = model.predict(x, verbose=0)
        assert np.allclose(expected, loaded.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_zero_init_gamma_makes_blocks_the_identity():
    model = ResNet(18, classes=3, zero_init_gamma=True)
    block = keras.Model(
        model.get_layer("layer1_0_relu").output, model.get_layer("layer1_1_relu").output
    )
    x = torch.rand(1, 8, 8, 64)
    assert torch.allclose(block(x, training=False), x)


def test_blur_pool_averages_with_binomial_weights():
    model = ResNet(18, classes=3, blur_pool=True)
    blur = model.get_layer("layer2_0_conv1_blur")
    assert not blur.trainable
    x = torch.zeros(1, 5, 5, 64)
    x[0, 2, 2] = 16.0
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert torch.allclose(blur(x)[0, :, :, 0], expected)


def test_averaging_shortcuts_meet_the_convolutions_at_odd_sizes_and_ignore_the_border():
    model = ResNet(18, classes=3, resnet_d=True)
    inside = keras.Model(model.input, model.get_layer("layer2_0_downsample_pool").output)
    before = keras.Model(model.input, model.get_layer("layer1_1_relu").output)
    x = torch.randn(1, 44, 44, 3)
    rows = before(x, training=False)
    assert rows.shape[1] % 2 == 1
    expected = torch.nn.functional.avg_pool2d(rows.permute(0, 3, 1, 2), 2, ceil_mode=True)
    assert torch.allclose(inside(x, training=False).permute(0, 3, 1, 2), expected, atol=1e-6)
    assert torch.allclose(
        keras_dawn.to_torch(model)(x), model(x, training=False), rtol=1e-4, atol=1e-5
    )


def test_an_activation_takes_every_place_of_relu_and_no_padding_wins_a_maximum():
    model = ResNet(18, classes=3, resnet_d=True, activation="mish")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert "ReLU" not in kinds and kinds.count("Activation") == 3 + 2 * 8
    pooled = keras.Model(model.get_layer("stem_mish3").output, model.get_layer("maxpool").output)
    x = -torch.rand(1, 8, 8, 64) - 0.1
    assert float(pooled(x).max()) < -0.09
    conv_bn = keras.Model(model.input, model.get_layer("stem_bn1").output)
    active = keras.Model(model.input, model.get_layer("stem_mish1").output)
    x = torch.randn(2, 16, 16, 3)
    expected = torch.nn.functional.mish(conv_bn(x, training=False))
    assert torch.allclose(active(x, training=False), expected, atol=1e-6)


def test_torchs_weights_of_a_network_with_another_activation_are_refused():
    with pytest.raises(ValueError, match="maxima behind the stem are of other windows"):
        ResNet(18, activation="mish", weights="mish.pth")


def test_an_activation_that_is_not_a_name_is_refused():
    with pytest.raises(ValueError, match="name of one of Keras's"):
        ResNet(18, activation=keras.activations.mish)
    with pytest.raises(ValueError, match="networks with ReLU"):
        ResNet(18, weights="imagenet", activation="mish")


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match=r"\[18, 34, 50, 101\]"):
        ResNet(20)
