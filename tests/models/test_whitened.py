"""The network of Jordan's records against the same in torch."""

import keras_dawn
from keras_dawn.models import IdentityFilters, WhitenedConvNet, freeze, whiten

import airbench
import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(scope="module")
def images():
    return torch.tensor(np.random.default_rng(0).normal(size=(40, 32, 32, 3)).astype("float32"))


def test_filters_begin_as_torchs_dirac():
    kernel = IdentityFilters(0)((3, 3, 4, 6))
    expected = torch.nn.init.dirac_(torch.empty(4, 4, 3, 3)).permute(2, 3, 1, 0)
    assert torch.equal(kernel[..., :4].cpu(), expected)
    rest = kernel[..., 4:]
    assert 0 < float(rest.abs().max()) <= 1 / 36**0.5 and float(rest.std()) > 0.05
    assert torch.equal(IdentityFilters(0)((3, 3, 6, 4)).cpu().sum((0, 1, 2)), torch.ones(4))
    with pytest.raises(ValueError, match="filter's shape"):
        IdentityFilters()((3, 4))


def test_whitened_patches_are_uncorrelated_with_unit_power(images):
    model = WhitenedConvNet()
    whiten(model, images, epsilon=0.0)
    kernel = model.get_layer("whitening").kernel
    patches = images.unfold(1, 2, 1).unfold(2, 2, 1).permute(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    answers = patches.double() @ kernel.value.detach().cpu().double().reshape(12, 24)[:, :12]
    power = answers.T @ answers / len(answers)
    assert torch.allclose(power, torch.eye(12, dtype=power.dtype), atol=1e-4)
    assert torch.equal(kernel.value[..., 12:], -kernel.value[..., :12])
    assert not kernel.trainable


def carry_over(model, net):
    """The peer's weights and statistics into the Keras model."""
    layers = [net[0]] + [net[g][n] for g in (2, 3, 4) for n in (0, 2, 4, 5)] + [net[7]]
    ours = [layer for layer in model.layers if layer.weights]
    for layer, theirs in zip(ours, layers, strict=True):
        if isinstance(theirs, torch.nn.Conv2d):
            layer.kernel.assign(theirs.weight.detach().permute(2, 3, 1, 0))
        elif isinstance(theirs, torch.nn.Linear):
            layer.kernel.assign(theirs.weight.detach().T)
        else:
            layer.beta.assign(theirs.bias.detach())
            layer.moving_mean.assign(theirs.running_mean)
            layer.moving_variance.assign(theirs.running_var)


@pytest.mark.parametrize("native", [False, True])
def test_answers_are_those_of_the_plain_torch_network(native, images):
    torch.manual_seed(0)
    net = airbench.Net().eval()
    planes = images.permute(0, 3, 1, 2)
    net.whiten(planes)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    model = WhitenedConvNet()
    carry_over(model, net)
    if native:
        model.compile("sgd", "mse")
        keras_dawn.accelerate(model)
    answers = torch.as_tensor(model.predict(images.numpy(), verbose=0))
    with torch.no_grad():
        assert torch.allclose(answers, net(planes), atol=1e-4)


def test_moving_averages_follow_the_batches_at_the_plain_networks_pace(images):
    torch.manual_seed(0)
    net = airbench.Net().train()
    some = images[:8]
    net.whiten(some.permute(0, 3, 1, 2))
    model = WhitenedConvNet()
    carry_over(model, net)
    with torch.no_grad():
        net(some.permute(0, 3, 1, 2))
        keras_dawn.to_torch(model, training=True)(some.to(model.layers[1].kernel.value.device))
    for name, theirs in (("group1_1_bn", net[2][2]), ("group3_2_bn", net[4][5])):
        layer = model.get_layer(name)
        torch.testing.assert_close(
            layer.moving_mean.value.detach().cpu(), theirs.running_mean, rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(
            layer.moving_variance.value.detach().cpu(), theirs.running_var, rtol=1e-3, atol=1e-4
        )


def test_images_of_any_size_and_a_bias_of_the_stem():
    model = WhitenedConvNet((8, 16), input_shape=(None, None, 3), whitening_bias=True)
    for size in (16, 20):
        assert model(np.zeros((2, size, size, 3), "float32")).shape == (2, 10)
    assert any(w.path.endswith("whitening/bias") for w in model.trainable_weights)
    again = keras.Model.from_config(model.get_config())
    assert again.count_params() == model.count_params()


def test_what_cannot_be_whitened_is_named(images):
    with pytest.raises(ValueError, match="no layer named 'whitening'"):
        whiten(keras_dawn.models.WideResNet(10, 1), images)
    with pytest.raises(ValueError, match=r"\(count, height, width, 3\)"):
        whiten(WhitenedConvNet((8,)), images[..., :1])


@pytest.mark.parametrize("native", [False, True])
def test_a_third_convolution_adds_to_the_first_as_in_airbench96(native, images):
    model = WhitenedConvNet((8, (12, 16, 12)))
    random = torch.Generator().manual_seed(1)
    for weight in model.weights:
        weight.assign(torch.rand(weight.shape, generator=random) - (weight.ndim > 1) * 0.5)
    model.compile("sgd", "mse")
    if native:
        keras_dawn.accelerate(model)
    before = keras.Model(model.input, model.get_layer("group1_2_activation").output)
    x = torch.as_tensor(before.predict(images.numpy(), verbose=0)).permute(0, 3, 1, 2)

    def convolved(x, number):
        kernel = model.get_layer(f"group2_conv{number}").kernel.value.detach().cpu()
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), padding=1)

    def normal(x, number):
        layer = model.get_layer(f"group2_{number}_bn")
        mean, variance, beta = (
            w.value.detach().cpu() for w in (layer.moving_mean, layer.moving_variance, layer.beta)
        )
        return F.batch_norm(x, mean, variance, None, beta, eps=1e-12)

    first = F.gelu(normal(F.max_pool2d(convolved(x, 1), 2), 1))
    second = F.gelu(normal(convolved(first, 2), 2))
    last = F.gelu(normal(convolved(second, 3), 3) + first).amax((2, 3))
    expected = last @ model.get_layer("predictions").kernel.value.detach().cpu() / 9
    answers = torch.as_tensor(model.predict(images.numpy(), verbose=0))
    assert torch.allclose(answers, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "widths, words",
    [((8,), "two or three"), ((8, 8, 8, 8), "two or three"), ((8, 0), "from 1 up"),
     ((8, 16, 16), "as wide")],
)  # fmt: skip
def test_widths_that_do_not_fit_are_named(widths, words):
    with pytest.raises(ValueError, match=words):
        WhitenedConvNet((8, widths))


def test_a_group_may_have_two_widths():
    model = WhitenedConvNet((8, (12, 16), 16))
    shapes = [model.get_layer(f"group2_conv{n}").kernel.shape for n in (1, 2)]
    assert shapes == [(3, 3, 8, 12), (3, 3, 12, 16)]


@pytest.mark.parametrize("native", [False, True])
def test_shortcuts_and_gates_are_those_of_plain_torch(native, images):
    model = WhitenedConvNet((8, (12, 12)), shortcuts=True, gates=(2,))
    plain = WhitenedConvNet((8, (12, 12)))  # the same but for what is tested
    random = torch.Generator().manual_seed(1)
    for weight in model.weights:
        weight.assign(torch.rand(weight.shape, generator=random) - (weight.ndim > 1) * 0.5)
    for layer in plain.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    model.compile("sgd", "mse")
    if native:
        keras_dawn.accelerate(model)

    x = images.numpy()
    for number in (1, 2):
        begin = plain.get_layer("group1_2_activation").output if number == 2 else plain.input
        ends = [
            plain.get_layer(f"group{number}_{name}").output for name in ("1_activation", "2_bn")
        ]
        group = keras.Model(begin, ends)
        first, second = (torch.as_tensor(y) for y in group.predict(x, verbose=0))
        x = F.gelu(first + second).numpy()
    gate = model.get_layer("group2_gate")
    kernel, bias = (w.value.detach().cpu() for w in (gate.kernel, gate.bias))
    x = torch.as_tensor(x)
    x = x * 2 * torch.sigmoid(x.mean((1, 2)) @ kernel + bias)[:, None, None]
    expected = x.amax((1, 2)) @ model.get_layer("predictions").kernel.value.detach().cpu() / 9
    answers = torch.as_tensor(model.predict(images.numpy(), verbose=0))
    assert torch.allclose(answers, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_gate_for_no_group_is_named():
    with pytest.raises(ValueError, match="groups from 1 to 2, got"):
        WhitenedConvNet((8, 8), gates=(2, 3))


@pytest.mark.parametrize("bias", [False, True])
def test_the_stem_of_a_loaded_model_stays_as_it_is(bias, tmp_path):
    model = WhitenedConvNet((4, 4), input_shape=(9, 9, 3), whitening_bias=bias)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    if bias:
        freeze(loaded, "^whitening/kernel")
    loaded.compile(keras_dawn.SGD(0.1), "mse")
    stem = loaded.get_layer("whitening")
    before = stem.kernel.numpy()
    loaded.fit(np.ones((4, 9, 9, 3), "float32"), np.ones((4, 10), "float32"), verbose=0)
    np.testing.assert_array_equal(stem.kernel.numpy(), before)
    assert len(loaded.trainable_weights) == len(model.trainable_weights)


def test_images_of_channels_first_have_the_same_answers(images):
    settings = {"widths": (8, 16), "shortcuts": True, "gates": (1,)}
    model = WhitenedConvNet(**settings)
    whiten(model, images)
    for weight in model.weights:
        if weight.path.endswith("moving_mean"):
            weight.assign(np.linspace(0, 1, weight.shape[0]))
    expected = model.predict(images.numpy(), verbose=0)
    keras.config.set_image_data_format("channels_first")
    again = WhitenedConvNet(**settings)
    assert again.input_shape == (None, 3, 32, 32)
    planes = images.permute(0, 3, 1, 2)
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(planes.numpy(), verbose=0), expected, atol=1e-5)
    whiten(again, planes)
    kernels = [each.get_layer("whitening").kernel.value.detach() for each in (model, again)]
    assert torch.equal(*kernels)
    with pytest.raises(ValueError, match=r"\(count, 3, height, width\)"):
        whiten(again, images)
    assert keras_dawn.models.ResNet9().input_shape == (None, 3, 32, 32)
