"""Normalizations of half precision, beside float64 and plain Keras."""

import keras_dawn
from keras_dawn.native import half_normalizations
from keras_dawn.native.half_normalizations import group_norm_in_half, layer_norm_in_half

import keras
import numpy as np
import pytest
import torch
from keras import layers

SHAPES = [  # and how many groups, of 1 to 16 channels, also in many pixels; none: layer norm
    ((8, 16, 12, 10), 8), ((2, 48, 5, 6), 3), ((2, 48, 5, 6), 4), ((2, 16, 32, 33), 2),
    ((3, 24, 10), 3), ((5, 16), 4), ((2, 6, 4, 3, 4), 2), ((2, 4, 5, 6), 4),
    ((8, 16, 12, 10), None), ((512, 16), None),
]  # fmt: skip


def computed(function, x, gamma, beta, change):
    given = [tensor.clone().requires_grad_() for tensor in (x, gamma, beta)]
    outputs = function(*given)
    outputs.backward(change.to(outputs.dtype))
    return outputs.detach(), *(tensor.grad for tensor in given)


def _with(function, settings):
    return lambda x, gamma, beta: function(x, settings, gamma, beta, 1e-3)


@pytest.mark.parametrize("shape, groups", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("innermost", [False, True])
def test_sums_are_in_float32_and_only_the_results_are_rounded(shape, groups, dtype, innermost):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=generator) + 3).to(dtype)
    x = x.movedim(1, -1).contiguous().movedim(-1, 1) if innermost else x
    gamma, beta = torch.randn(2, shape[1], generator=generator)
    change = torch.randn(shape, generator=generator).to(dtype)

    if groups is None:
        x, change = x.movedim(1, -1), change.movedim(1, -1)
        functions, settings = (layer_norm_in_half, torch.layer_norm), shape[1:2]
    else:
        functions, settings = (group_norm_in_half, torch.group_norm), groups
    half, exact = (_with(function, settings) for function in functions)
    found = computed(half, x, gamma, beta, change)
    expected = computed(exact, *(t.double() for t in (x, gamma, beta, change)))
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32, torch.float32]
    rounding = torch.finfo(dtype).eps
    with torch.no_grad():  # which may go another way
        predicted = half(x, gamma, beta)
    error = (predicted.double() - expected[0]).abs().max()
    assert error <= rounding * expected[0].abs().max() and predicted.dtype == dtype
    if groups and x.ndim > 3:  # images and volumes keep their layout
        assert predicted.stride() == found[0].stride() == x.stride()
    for one, other, error in zip(found, expected, (rounding, rounding, 1e-5, 1e-5), strict=True):
        assert (one.double() - other).abs().max() <= error * other.abs().max()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_what_torch_func_and_compile_see_is_of_one_dtype():
    x, gamma, beta = torch.randn(4, 6, 5).bfloat16(), torch.randn(6), torch.randn(6)

    def normalized(x):
        return group_norm_in_half(x, 2, gamma, beta, 1e-3)

    outputs, change = torch.func.jvp(normalized, (x,), (x,))
    assert outputs.dtype == change.dtype == torch.bfloat16
    torch.testing.assert_close(outputs, normalized(x))
    compiled = torch.compile(normalized, backend="aot_eager")
    torch.testing.assert_close(compiled(x), normalized(x))


GROUPS = [{}, {"center": False}, {"scale": False}, {"groups": 1}]
LAYERS = [{}, {"center": False}, {"scale": False}, {"axis": [-2, -1]}]


@pytest.mark.parametrize(
    "kind, settings",
    [(layers.GroupNormalization, {"groups": 4, **each}) for each in GROUPS]
    + [(layers.LayerNormalization, each) for each in LAYERS],
)
@pytest.mark.parametrize("shape", [(6, 6, 8), (7, 8)])
def test_a_layer_in_half_precision_is_as_plain_keras_computes_it(kind, settings, shape):
    mixed = {"dtype": "mixed_bfloat16"}
    normalization = kind(**settings, **mixed)
    parts = [keras.Input(shape), layers.Activation("linear", **mixed), normalization]
    model = keras.Sequential([*parts, layers.ReLU(**mixed)])
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    x = random.normal(3, 2, (5, *shape)).astype("float32")
    expected = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32"))
    code = keras_dawn.to_torch(model).code
    assert "norm_in_half" in code and code.count(".to(") <= 1
    found = keras_dawn.accelerate(model).predict(x, verbose=0)
    np.testing.assert_allclose(found.astype("float32"), expected, rtol=2**-7, atol=2**-8)
    if kind is layers.GroupNormalization:
        assert "relu_" in keras_dawn.to_torch(model, training=True).code  # nobody reads its input


def test_only_a_processor_takes_the_channels_outermost(monkeypatch):
    given = []
    monkeypatch.setattr(half_normalizations, "_in_float32", lambda _, x, *rest: given.append(x))
    x = torch.empty(2, 6, 4, 4, dtype=torch.bfloat16, device="meta")
    x = x.contiguous(memory_format=torch.channels_last)
    group_norm_in_half(x, 3, None, None, 1e-3)
    assert given[0] is x
