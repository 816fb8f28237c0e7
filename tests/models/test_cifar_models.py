import keras_dawn
from keras_dawn.models import (
    ConcatPooling2D,
    PreActResNet,
    PreActResNet18,
    PreActResNet34,
    ResNet9,
    ResNet18ConcatPool,
)

import keras
import numpy as np
import pytest
import torch.nn.functional as F

from tests.on_device import torch


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    "build, parameters",
    [
        (PreActResNet18, 11_171_146),
        (PreActResNet34, 21_279_306),
        (ResNet18ConcatPool, 5_205_962),
        (ResNet9, 6_573_120),
    ],
)
def test_parameter_counts_are_the_entries(build, parameters):
    assert trainable(build()) == parameters


class TorchBlock(torch.nn.Module):
    """A pre-activation block as the 2018 notebooks describe it."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.bn1, self.bn2 = torch.nn.BatchNorm2d(channels), torch.nn.BatchNorm2d(filters)
        self.conv1 = torch.nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.conv2 = torch.nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or channels != filters:
            self.shortcut = torch.nn.Conv2d(channels, filters, 1, stride, bias=False)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + shortcut


def torch_preact_resnet18():
    modules, channels = [torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)], 64
    for stage, filters in enumerate((64, 128, 256, 512)):
        for number in range(2):
            modules.append(TorchBlock(channels, filters, 2 if stage and not number else 1))
            channels = filters
    head = [torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, 10)]
    return torch.nn.Sequential(*modules, *head)


def test_torch_weights_give_torchs_outputs():
    theirs = torch_preact_resnet18()
    ours = PreActResNet(18)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    names = iter(f"layer{stage}_{number}" for stage in range(1, 5) for number in range(2))
    ours.get_layer("stem").set_weights([theirs[0].weight.detach().permute(2, 3, 1, 0).numpy()])
    for block in theirs[1:9]:
        name = next(names)
        for number, normal in enumerate((block.bn1, block.bn2), 1):
            parts = (normal.weight, normal.bias, normal.running_mean, normal.running_var)
            values = [part.detach().numpy() for part in parts]
            ours.get_layer(f"{name}_{number}_bn").set_weights(values)
        for part, convolution in (("conv1", block.conv1), ("conv2", block.conv2),
                                  ("shortcut", block.shortcut)):  # fmt: skip
            if convolution is not None:
                kernel = convolution.weight.detach().permute(2, 3, 1, 0).numpy()
                ours.get_layer(f"{name}_{part}").set_weights([kernel])
    linear = theirs[-1]
    ours.get_layer("predictions").set_weights(
        [linear.weight.detach().numpy().T, linear.bias.detach().numpy()]
    )
    x = torch.randn(2, 32, 48, 3)
    theirs.eval().to(x.device)
    with torch.no_grad():
        expected = theirs(x.permute(0, 3, 1, 2))
        scale = expected.abs().max()
        assert float((ours(x, training=False) - expected).abs().max() / scale) < 1e-5
        assert float((keras_dawn.to_torch(ours)(x) - expected).abs().max() / scale) < 1e-5


@pytest.mark.parametrize("build", [PreActResNet18, lambda: PreActResNet(50), ResNet18ConcatPool,
                                   ResNet9])  # fmt: skip
def test_every_layer_is_native_and_files_round_trip(build, tmp_path):
    model = build()
    assert not keras_dawn.explain(model).fallbacks
    x = torch.randn(2, 32, 32, 3)
    with torch.no_grad():
        expected = model(x, training=False)
        native = keras_dawn.to_torch(model)(x)
    assert torch.allclose(native, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    model.save_weights(tmp_path / "model.weights.h5")
    again = build()
    again.load_weights(tmp_path / "model.weights.h5")
    with torch.no_grad():
        found = again(x, training=False)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("order", ["avg_max", "max_avg"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_concat_pooling_is_mean_and_maximum_in_order(order, data_format):
    x = torch.randn(2, 5, 6, 3)
    mean, highest = x.mean((1, 2)), x.amax((1, 2))
    expected = torch.cat([mean, highest] if order == "avg_max" else [highest, mean], 1)
    given = x if data_format == "channels_last" else x.permute(0, 3, 1, 2)
    inputs = keras.Input(tuple(given.shape[1:]))
    model = keras.Model(inputs, ConcatPooling2D(order, data_format)(inputs))
    assert model.output_shape == (None, 6)
    assert torch.allclose(model(given), expected)
    assert torch.allclose(keras_dawn.to_torch(model)(given), expected)
    copy = ConcatPooling2D.from_config(model.layers[-1].get_config())
    assert (copy.order, copy.data_format) == (order, data_format)


def test_an_unknown_order_or_depth_is_refused():
    with pytest.raises(ValueError, match="avg_max"):
        ConcatPooling2D("both")
    with pytest.raises(ValueError, match=r"\[18, 34, 50\]"):
        PreActResNet(20)
