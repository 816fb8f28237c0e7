from keras_dawn.models import WideResNet

import keras
import numpy as np
import pytest
import torch.nn.functional as F

from tests.on_device import torch


def trainable_count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(("depth", "width", "count"), [(22, 6, 9_658_458), (22, 8, 17_158_106)])
def test_parameter_counts_of_the_entries_networks(depth, width, count):
    assert trainable_count(WideResNet(depth, width)) == count


class TorchBlock(torch.nn.Module):
    """The entries' pre-activation block, written from its description."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.bn1 = torch.nn.BatchNorm2d(channels)
        self.conv1 = torch.nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(filters)
        self.conv2 = torch.nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.shortcut = (
            torch.nn.Conv2d(channels, filters, 1, stride, bias=False)
            if channels != filters
            else None
        )

    def forward(self, x):
        activated = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(activated))))


def torch_wide_resnet(width):
    """WRN-16: two blocks in each of three groups."""
    layers = [torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    channels = 16
    for group in range(3):
        for block in range(2):
            filters = 16 * width * 2**group
            layers.append(TorchBlock(channels, filters, 2 if group and not block else 1))
            channels = filters
    layers += [
        torch.nn.BatchNorm2d(channels),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(channels, 10),
    ]
    return torch.nn.Sequential(*layers)


def copy_weights(model, network):
    """Keras layers by name to the torch network's layers in order."""

    def conv(layer, name):
        kernel = model.get_layer(name).kernel.value.detach()
        layer.weight.data = kernel.permute(3, 2, 0, 1).contiguous()

    def norm(layer, name):
        source = model.get_layer(name)
        layer.weight.data = source.gamma.value.detach().clone()
        layer.bias.data = source.beta.value.detach().clone()

    conv(network[0], "stem")
    for number in range(6):
        name, block = f"group{number // 2 + 1}_block{number % 2 + 1}", network[1 + number]
        norm(block.bn1, f"{name}_1_bn")
        norm(block.bn2, f"{name}_2_bn")
        conv(block.conv1, f"{name}_conv1")
        conv(block.conv2, f"{name}_conv2")
        if block.shortcut is not None:
            conv(block.shortcut, f"{name}_shortcut")
    norm(network[7], "head_bn")
    dense = model.get_layer("predictions")
    network[11].weight.data = dense.kernel.value.detach().T.contiguous()
    network[11].bias.data = dense.bias.value.detach().clone()


@pytest.mark.parametrize("size", [32, 40, 27])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_equal_a_torch_network_with_the_same_weights(size, training):
    model = WideResNet(16, 2, input_shape=(None, None, 3))
    for layer in model.layers:  # other scales than 1 and 0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(np.random.uniform(-0.5, 0.5, layer.beta.shape))
    network = torch_wide_resnet(2)
    copy_weights(model, network)
    images = torch.randn(4, size, size, 3)
    network.to(images.device).train(training)
    with torch.no_grad():
        ours = model(images, training=training)
        theirs = network(images.permute(0, 3, 1, 2))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        if training:  # running averages move at torch's pace
            moving = model.get_layer("group1_block1_1_bn").moving_mean.value
            torch.testing.assert_close(moving, network[1].bn1.running_mean, rtol=1e-4, atol=1e-5)


def test_initialisation_is_that_of_the_entries():
    model = WideResNet(10, 6)
    kernel = model.get_layer("group3_block1_conv2").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 384)), rel=0.01)
    assert np.abs(kernel).max() > 3 * kernel.std()  # not truncated at two deviations
    dense = model.get_layer("predictions").kernel.numpy()
    assert np.abs(dense).max() == pytest.approx(1 / np.sqrt(384), rel=0.01)
    assert dense.std() == pytest.approx(1 / np.sqrt(3 * 384), rel=0.05)
    norm = model.get_layer("head_bn")
    assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_logits_are_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    model = WideResNet(10, 1)
    assert model(np.zeros((2, 32, 32, 3), "float32")).dtype == torch.float32
    assert model.get_layer("stem").compute_dtype == keras.config.dtype_policy().compute_dtype


def test_keras_applications_conventions(tmp_path):
    headless = WideResNet(10, 1, include_top=False, input_shape=(32, 32, 1))
    assert headless.output_shape == (None, 8, 8, 64)
    assert WideResNet(10, 1, include_top=False, pooling="max").output_shape == (None, 64)
    assert WideResNet(10, 1, include_top=False, pooling="avg").output_shape == (None, 64)
    model = WideResNet(10, 1, classes=3, classifier_activation="softmax", dropout=0.3, name="net")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    outputs = model.predict(images, verbose=0)
    np.testing.assert_allclose(outputs.sum(1), 1.0, rtol=1e-5)
    assert model.name == "net"
    model.save_weights(tmp_path / "net.weights.h5")
    again = WideResNet(
        10, 1, classes=3, classifier_activation="softmax", weights=tmp_path / "net.weights.h5"
    )
    np.testing.assert_array_equal(again.predict(images, verbose=0), outputs)


def test_channels_first_has_the_same_weights():
    keras.config.set_image_data_format("channels_first")
    model = WideResNet(10, 1)
    assert model.input_shape == (None, 3, 32, 32)
    assert trainable_count(model) == 77_850
    assert model.get_layer("head_bn").axis == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 18},
        {"depth": 4},
        {"width": 0},
        {"width": 1.5},
        {"pooling": "sum"},
        {"classes": 0},
        {"dropout": 1.0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="got"):
        WideResNet(**arguments)
