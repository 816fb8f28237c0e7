"""The gates of a WaveNet as one operation, with the numbers of the layers as written."""

import itertools

import keras_dawn
from keras_dawn.convolutions import choice, table_named
from keras_dawn.native.gates import gate
from keras_dawn.native.lowering import gated_convolutions, lower
from keras_dawn.native.lowering.gated_convolutions import gated_by_ways, goes_by_products
from keras_dawn.native.padding import pad_axes

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.trained import assert_trains_alike
from tests.on_device import on_processor

pytestmark = on_processor  # on a GPU nothing is gated

CASES = [  # batch, time, channels, filters, steps, dilation
    (3, 16, 32, 40, 2, 1),
    (2, 16, 33, 32, 2, 8),
    (1, 16, 32, 32, 3, 4),
]


@pytest.fixture
def measured(monkeypatch):
    """The table of a processor for which products were timed."""
    monkeypatch.setattr(choice._InUse, "table", table_named("amx"))


def made(case, dtype=torch.float32, bias=True):
    """Arguments of `gated_by_ways`, and the settings after them."""
    batch, time, channels, filters, steps, dilation = case
    random = torch.Generator().manual_seed(1)
    shapes = [(batch, time, channels), *[(filters, steps, channels)] * 2, *[(filters,)] * 2]
    tensors = [
        torch.randn(shape, generator=random, dtype=torch.float64).mul(size).to(dtype)
        for shape, size in zip(shapes, (1, 0.1, 0.1, 1, 1), strict=True)
    ]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    series, *kernels = (tensor.mT for tensor in tensors[:3])
    biases = tensors[3:] if bias else [None, None]
    settings = ((dilation * (steps - 1), 0),), (1,), (0,), (dilation,), 1
    return tensors[: 5 if bias else 3], (series, kernels, biases), settings


def as_written(given, settings):
    series, kernels, biases = given
    ends, *settings = settings
    one, other = (
        torch.conv1d(pad_axes(series, ends), kernel, bias, *settings)
        for kernel, bias in zip(kernels, biases, strict=True)
    )
    return torch.tanh(one) * torch.sigmoid(other)


def results(function, case, dtype, bias=True):
    """The gate and the gradients of all tensors, of a change that differs from step to step."""
    tensors, given, settings = made(case, dtype, bias)
    found = function(*given, *settings) if function is gated_by_ways else function(given, settings)
    change = torch.linspace(0.5, 1.5, found.numel()).view(found.shape).bfloat16().to(dtype)
    return [found, *torch.autograd.grad(found, tensors, change)]


def assert_close(found, expected, limit):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        one, other = one.detach().double(), other.detach()
        assert float((one - other).norm()) <= limit * float(other.norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_products_are_the_convolutions_to_rounding(measured, case, bias):
    _, (series, kernels, _), settings = made(case)
    assert goes_by_products(series, kernels[0], *settings)
    found = results(gated_by_ways, case, torch.float32, bias)
    expected = results(as_written, case, torch.float64, bias)
    assert_close(found, expected, 3e-6)
    with torch.no_grad():
        _, given, settings = made(case, bias=bias)
        assert_close([gated_by_ways(*given, *settings)], expected[:1], 3e-6)


@pytest.mark.parametrize("dtype, limit", [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("case", [(64, 128, 64, 64, 2, 4), (2, 16, 32, 32, 5, 2)])
def test_larger_ones_are_convolutions_and_a_gate(measured, case, dtype, limit):
    _, (series, kernels, _), settings = made(case, dtype)
    assert not goes_by_products(series, kernels[0], *settings)
    found = results(gated_by_ways, case, dtype)
    assert_close(found, results(as_written, case, torch.float64), limit)


def test_the_gate_is_that_of_torch(true_float64):
    numbers = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    one, other = numbers.chunk(2, -1)
    expected = torch.tanh(one) * torch.sigmoid(other)
    assert torch.equal(gate(numbers), expected)
    assert torch.autograd.gradcheck(gate, numbers)
    assert torch.autograd.gradgradcheck(gate, numbers)
    directions = torch.eye(expected.numel(), dtype=torch.float64).view(-1, *expected.shape)
    rows = [
        torch.autograd.grad(each, numbers, directions, is_grads_batched=True)[0]
        for each in (gate(numbers), torch.tanh(one) * torch.sigmoid(other))
    ]
    torch.testing.assert_close(*rows)
    product = gate(numbers)
    mapped = torch.func.vmap(lambda each: torch.autograd.grad(product, numbers, each)[0])
    torch.testing.assert_close(mapped(directions), rows[1])


@pytest.mark.parametrize("case", [CASES[0], (2, 16, 32, 32, 5, 2)])
def test_gradients_of_gradients_are_those_of_the_convolutions(measured, case):
    def twice(function, dtype):
        tensors, given, settings = made(case, dtype)
        if function is gated_by_ways:
            found = function(*given, *settings)
        else:
            found = function(given, settings)
        first = torch.autograd.grad(found.square().sum(), tensors, create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), tensors)

    assert_close(twice(gated_by_ways, torch.float32), twice(as_written, torch.float64), 1e-5)


def test_only_the_gradients_that_are_asked_for_are_computed(measured):
    for wanted in itertools.product([True, False], repeat=2):
        tensors, given, settings = made(CASES[0])
        expected = results(as_written, CASES[0], torch.float64)[1:]
        for tensor, each in zip(tensors, (wanted[0], wanted[1], False, False, True), strict=True):
            tensor.requires_grad_(each)
        given = tensors[0].mT, [each.mT for each in tensors[1:3]], tensors[3:]
        found = gated_by_ways(*given, *settings)
        change = torch.linspace(0.5, 1.5, found.numel()).view(found.shape).bfloat16().float()
        found.backward(change)
        for tensor, gradient in zip(tensors, expected, strict=True):
            assert (tensor.grad is not None) == tensor.requires_grad
            if tensor.requires_grad:
                assert_close([tensor.grad], [gradient], 3e-6)


def test_no_more_is_kept_than_by_the_convolutions(measured):
    kept = []
    for function in (gated_by_ways, as_written):
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outcome = results(function, (4, 64, 32, 32, 2, 4), torch.float32)
        kept.append(sum(sizes.values()))
        del outcome
    assert kept[0] <= 1.05 * kept[1]


def test_the_choice_depends_on_sizes_threads_precision_and_table(measured, monkeypatch):
    def goes(case, dtype=torch.float32):
        _, (series, kernels, _), settings = made(case, dtype)
        return goes_by_products(series, kernels[0], *settings)

    assert goes((64, 128, 32, 32, 2, 4))
    assert not goes((64, 128, 32, 32, 2, 4), torch.bfloat16)
    assert not goes((65, 128, 32, 32, 2, 4))
    assert not goes((2, 16, 32, 32, 4, 1))  # more steps than were measured
    assert not goes((2, 16, 32, 32, 2, 9))  # as many zeros as steps
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert goes((32, 128, 32, 32, 2, 4)) and not goes((64, 128, 32, 32, 2, 4))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(choice._InUse, "table", table_named("torch"))
    assert not goes((64, 128, 32, 32, 2, 4))


def wavenet(width=32, inverted=False, **settings):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 4))
    x, skips = layers.Conv1D(width, 1)(inputs), []
    for dilation in (1, 4):
        gates = [
            layers.Conv1D(width, 2, padding="causal", dilation_rate=dilation, activation=name,
                          **settings)(x)
            for name in ("tanh", "sigmoid")
        ]  # fmt: skip
        skips.append(layers.Conv1D(width, 1)(layers.Multiply()(gates[:: -1 if inverted else 1])))
        x = layers.Add()([x, skips[-1]])
    model = keras.Model(inputs, layers.Conv1D(1, 1)(layers.ReLU()(layers.Add()(skips))))
    model.compile(keras.optimizers.SGD(0.0625), "mse")
    return model


def gates_of(model):
    return keras_dawn.to_torch(model).code.count("gated_convolutions_gated")


@pytest.mark.parametrize("settings", [{}, {"inverted": True, "use_bias": False}])
def test_a_wavenet_trains_as_in_plain_keras(measured, settings):
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(8, 16, last)).astype("float32") for last in (4, 1))
    assert gates_of(wavenet(**settings)) == 2
    found = assert_trains_alike(lambda: wavenet(**settings), x, y, 1e-5)
    ways = "windows; gradient to the images: products, to the weights: products"
    sizes = "8 × 16, 32 → 64, 2"
    said = list(found.convolutions.values())
    assert said == [f"{sizes}: {ways}", f"{sizes}, dilation 4: {ways}"]


def test_narrow_gates_train_as_in_plain_keras(true_float64):
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(8, 16, last)) for last in (4, 1))
    assert gates_of(wavenet(8)) == 2
    assert_trains_alike(lambda: wavenet(8), x, y, 1e-9)


def test_what_is_no_gate_stays_as_it_is():
    def built(first="tanh", second="sigmoid", filters=8, read_again=False):
        inputs = keras.Input((16, 4))
        one = layers.Conv1D(8, 2, activation=first)(inputs)
        other = layers.Conv1D(filters, 2, activation=second)(inputs)
        product = layers.Multiply()([one, other])
        return keras.Model(inputs, layers.Add()([product, one]) if read_again else product)

    assert gates_of(built()) == 1
    kinds = {"first": "relu"}, {"second": "tanh"}, {"filters": 1}, {"read_again": True}
    assert [gates_of(built(**kind)) for kind in kinds] == [0] * 4


def test_compiled_and_traced_the_gate_is_written_out(measured, monkeypatch):
    _, given, settings = made(CASES[0])
    expected = gated_by_ways(*given, *settings)
    monkeypatch.setattr(gated_convolutions, "causal_gates", None)  # must not be called
    monkeypatch.setattr(gated_convolutions, "gate", None)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(gated_by_ways(*given, *settings), expected)
    monkeypatch.undo()
    with torch.autocast("cpu", torch.bfloat16):
        assert gated_by_ways(*given, *settings).dtype is torch.bfloat16


def test_autocast_around_the_backward_pass_alone_changes_nothing(measured):
    tensors, given, settings = made(CASES[0])
    found = gated_by_ways(*given, *settings)
    change = torch.linspace(0.5, 1.5, found.numel()).view(found.shape).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        gradients = torch.autograd.grad(found, tensors, change)
    assert_close(gradients, results(as_written, CASES[0], torch.float64)[1:], 3e-6)


def test_gates_inside_python_of_ones_own_are_gated_too():
    lowered = lower(wavenet(8), True, views=None)  # weights in Keras's order of axes
    assert lowered.module.code.count("gated_convolutions_gated") == 2
