"""`conv2d` by tables of every kind, against `torch.conv2d`."""

import functools
import sys

from keras_dawn.convolutions import Table, WayRule, choice, conv2d, precisions, ways_of
from keras_dawn.convolutions.convolve import may_gain
from keras_dawn.convolutions.way import STAGES
from keras_dawn.convolutions.ways import WAYS

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

CASES = [  # batch, channels, filters, image, kernel, stride, padding, dilation
    (16, 33, 40, (4, 4), (3, 3), (1, 1), (1, 1), (1, 1)),
    (8, 40, 33, (8, 6), (3, 3), (2, 2), (1, 1), (1, 1)),
    (5, 36, 48, (7, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
    (5, 36, 48, (7, 5), (1, 1), (2, 2), (0, 0), (1, 1)),
    (2, 32, 32, (9, 9), (3, 3), (1, 1), (2, 2), (2, 2)),
    (1, 1, 3, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
]


def arguments(case, dtype=torch.float64, bias=True):
    batch, channels, filters, image, kernel, *settings = case
    random = torch.Generator().manual_seed(1)
    shapes = (batch, channels, *image), (filters, channels, *kernel), (filters,)
    images, weight, offset = (
        torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes
    )
    images = images.contiguous(memory_format=torch.channels_last)
    return [images, weight, offset if bias else None], settings


def results(convolve, tensors, settings, change=None):
    """Result and gradients of all tensors."""
    leaves = [None if one is None else one.detach().requires_grad_() for one in tensors]
    result = convolve(*leaves, *settings)
    if change is None:
        change = torch.linspace(0.5, 1.5, result.numel()).view(result.shape).bfloat16()
    wanted = [leaf for leaf in leaves if leaf is not None]
    gradients = torch.autograd.grad(result, wanted, change.to(result.dtype))
    return [result.detach(), *gradients]


def assert_close(found, expected, limit):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one.double() - other).norm()) <= limit * float(other.norm())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype, limit", [(torch.float32, 3e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ways", [("windows", "product"), ("beside 8", "turned", "transposed")])
def test_result_and_gradients_are_those_of_float64(use, ways, case, dtype, limit, bias):
    use(*ways)
    tensors, settings = arguments(case, dtype, bias)
    exact = [None if one is None else one.double() for one in tensors]
    found = results(conv2d, tensors, settings)
    assert_close(found, results(torch.conv2d, exact, settings), limit)


@pytest.mark.parametrize("case", CASES[:4])
def test_memory_in_any_order_is_taken(use, case):
    use("windows", "product")
    (images, weight, bias), settings = arguments(case, torch.float32)
    expected = results(torch.conv2d, [images, weight, bias], settings)
    change = torch.ones(()).expand(expected[0].shape)  # as from a mean: no memory of its own
    expected = results(torch.conv2d, [images, weight, bias], settings, change)
    for moved in (images.contiguous(), images.transpose(2, 3).contiguous().transpose(2, 3)):
        found = results(conv2d, [moved, weight, bias], settings, change)
        assert_close(found, [one.double() for one in expected], 3e-6)


@pytest.mark.parametrize("frozen", ["images", "weight"])
def test_gradients_that_nobody_asks_for_are_not_computed(use, monkeypatch, frozen):
    use("windows")
    stage = {"images": "to_input", "weight": "to_weight"}[frozen]
    monkeypatch.setattr(WAYS["windows"], stage, lambda *given: pytest.fail("it was computed"))
    (images, weight, _), settings = arguments(CASES[0], torch.float32)
    (weight if frozen == "images" else images).requires_grad_()
    conv2d(images, weight, None, *settings).sum().backward()


@pytest.mark.parametrize("frozen", ["images", "weight"])
def test_torch_is_not_asked_for_them_either(monkeypatch, frozen):
    rule = WayRule("forward", "float32", "windows", {})
    monkeypatch.setattr(choice._InUse, "table", Table("test", (rule,)))
    asked = []
    module = sys.modules["keras_dawn.convolutions.convolve"]
    original = module.gradients
    monkeypatch.setattr(module, "gradients", lambda *given: asked.append(given) or original(*given))
    (images, weight, _), settings = arguments(CASES[0], torch.float32)
    (weight if frozen == "images" else images).requires_grad_()
    conv2d(images, weight, None, *settings).sum().backward()
    assert [given[-1] for given in asked] == [(frozen != "images", frozen != "weight", False)]


def test_nothing_is_kept_that_torch_would_not_keep(use):
    use("windows")
    (images, weight, bias), settings = arguments(CASES[0], torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        conv2d(images, weight.requires_grad_(), bias, *settings)
    assert {one.data_ptr() for one in kept} == {images.data_ptr(), weight.data_ptr()}


def test_a_result_may_be_overwritten(use):
    for way in ("windows", "beside 8", "winograd", "product"):
        use(way)
        for case in CASES[:1] if way != "product" else CASES[2:3]:
            (images, weight, bias), settings = arguments(case, torch.float32)
            torch.relu_(conv2d(images, weight.requires_grad_(), bias, *settings)).sum().backward()
            ours, weight.grad = weight.grad, None
            torch.relu(torch.conv2d(images, weight, bias, *settings)).sum().backward()
            torch.testing.assert_close(ours, weight.grad, rtol=1e-4, atol=1e-4)


def test_gradients_of_gradients_are_torchs(use):
    use("windows")
    tensors, settings = arguments(CASES[1], torch.float32, bias=False)
    found = []
    for convolve in (conv2d, torch.conv2d):
        leaves = [one.detach().requires_grad_() for one in tensors[:2]]
        result = convolve(*leaves, None, *settings).tanh().sum()
        first = torch.autograd.grad(result, leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(one.square().sum() for one in first), leaves))
    assert_close(found[0], [one.double() for one in found[1]], 1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, of duals
def test_what_torch_transforms_goes_torchs_way(use):
    use("windows")
    (images, weight, _), settings = arguments(CASES[0], torch.float32)

    def total(kernel):
        return conv2d(images, kernel, None, *settings).square().sum()

    (wanted,) = torch.autograd.grad(total(weight.requires_grad_()), weight)
    torch.testing.assert_close(
        torch.func.grad(total)(weight.detach()), wanted, rtol=1e-4, atol=1e-3
    )
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(weight.detach(), torch.ones_like(weight))
        tangent = torch.autograd.forward_ad.unpack_dual(total(dual)).tangent
    torch.testing.assert_close(tangent, wanted.sum(), rtol=1e-4, atol=1e-2)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv2d(images, weight, None, *settings).dtype == torch.bfloat16


def test_what_is_compiled_goes_its_ways_too_in_one_graph(use, monkeypatch):
    use("windows")
    compiled = torch.compile(conv2d, backend="aot_eager", fullgraph=True)
    gone = []
    for stage in STAGES:
        original = getattr(WAYS["windows"], stage)
        note = functools.partial(lambda do, *given: gone.append(1) or do(*given), original)
        monkeypatch.setattr(WAYS["windows"], stage, note)
    tensors, settings = arguments(CASES[0], torch.float32)
    exact = [one.double() for one in tensors]
    assert_close(results(compiled, tensors, settings), results(torch.conv2d, exact, settings), 3e-6)
    assert len(gone) == len(STAGES)
    use()
    results(compiled, tensors, settings)  # the table in use counts, not that of the compilation
    assert len(gone) == len(STAGES)


def test_what_is_exported_is_torchs(use):
    use("windows")
    tensors, settings = arguments(CASES[0], torch.float32)

    class Module(torch.nn.Module):
        def forward(self, *given):
            return conv2d(*given, *settings)

    code = torch.export.export(Module(), tuple(tensors)).graph_module.code
    assert "torch.ops.aten.conv2d" in code and "keras_dawn" not in code


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_torchs_own(use, monkeypatch, dtype):
    use("windows")
    (images, weight, bias), settings = arguments(CASES[0], dtype)
    assert set(ways_of(images, weight, *settings).values()) == {"torch"}
    monkeypatch.setattr(WAYS["windows"], "forward", lambda *given: pytest.fail("it was computed"))
    torch.testing.assert_close(
        conv2d(images, weight, bias, *settings), torch.conv2d(images, weight, bias, *settings)
    )


def test_what_does_not_fit_is_torchs_error(use):
    use("windows")
    images, weight = torch.ones(2, 3, 5, 5), torch.ones(4, 6, 3, 3)
    with pytest.raises(RuntimeError, match="to have 6 channels, but got 3"):
        conv2d(images, weight)
    with pytest.raises(RuntimeError, match="should be the same"):
        conv2d(images, torch.ones(4, 3, 3, 3, dtype=torch.bfloat16))
    assert conv2d(torch.ones(0, 3, 5, 5), torch.ones(4, 3, 3, 3)).shape == (0, 4, 3, 3)


def test_ways_are_said(use):
    use("transposed", "windows")
    found = ways_of(torch.ones(2, 3, 5, 5), torch.ones(4, 3, 3, 3))
    assert found == dict(zip(STAGES, ("windows", "windows", "transposed"), strict=True))


@pytest.mark.parametrize("case", [(7, 1), (1, 7), (1, 1)])
def test_an_axis_of_one_pixel_may_have_any_stride(use, case):
    use("windows")
    height, width = case
    memory = torch.randn(3, height * width, 5, 1)  # as a Keras `Permute` of a series leaves it
    images = memory.permute(0, 2, 3, 1) if height == 1 else memory.permute(0, 2, 1, 3)
    assert images.shape == (3, 5, height, width)
    weight, settings = torch.randn(4, 5, 3, 3), ((1, 1), (1, 1))
    found = results(conv2d, [images, weight, None], settings)
    expected = results(torch.conv2d, [images.double(), weight.double(), None], settings)
    assert_close(found, expected, 3e-6)


def test_a_gradient_to_the_bias_costs_none_to_the_weights(use, monkeypatch):
    module = sys.modules["keras_dawn.convolutions.convolve"]
    asked = []
    original = module.gradients
    monkeypatch.setattr(module, "gradients", lambda *given: asked.append(given) or original(*given))
    tensors, settings = arguments(CASES[0], torch.bfloat16)
    exact = [one.double() for one in tensors]
    for ways, wanted in ((["transposed"], [(True, False, False)]), (["windows"], [])):
        use(*ways)
        found = results(conv2d, tensors, settings)
        assert [given[-1] for given in asked] == wanted
        assert_close(found, results(torch.conv2d, exact, settings), 1e-2)
        asked.clear()


def test_many_gradients_at_once_are_torchs(use):
    use("windows")
    (images, weight, bias), settings = arguments(CASES[0], torch.float32)
    found = []
    for convolve in (conv2d, torch.conv2d):
        leaves = [one.detach().requires_grad_() for one in (images, weight, bias)]
        result = convolve(*leaves, *settings).sum((2, 3))
        changes = torch.stack([torch.ones_like(result), torch.ones_like(result).cumsum(1)])
        found.append(torch.autograd.grad(result, leaves, changes, is_grads_batched=True))
    assert_close(found[0], [one.double() for one in found[1]], 1e-5)


def test_autocast_around_the_backward_pass_alone_changes_nothing(use):
    use("windows")
    tensors, settings = arguments(CASES[0], torch.float32)
    expected = results(conv2d, tensors, settings)
    leaves = [one.detach().requires_grad_() for one in tensors]
    result = conv2d(*leaves, *settings)
    change = torch.linspace(0.5, 1.5, result.numel()).view(result.shape).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(result, leaves, change)
    assert_close([result.detach(), *found], [one.double() for one in expected], 3e-6)


def test_whatever_else_torch_takes_is_taken(use):
    use("windows")
    images, weight, bias = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    for settings in (([2, 2], [1, 1]), (2, 1), ((1, 1), "same"), ((2,), (1,))):
        found, expected = (f(images, weight, bias, *settings) for f in (conv2d, torch.conv2d))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "bias, settings",
    [
        (torch.ones(4, dtype=torch.bfloat16), ()),
        (torch.ones(1), ()),
        (torch.ones(4, 1, 1), ()),
        (None, ((1, 1), (-1, -1))),
        (None, ((0, 1), (1, 1))),
        (None, ((1, 1), (0, 0), (0, 1))),
    ],
)
def test_what_torch_refuses_is_refused(use, bias, settings):
    use("windows")
    images, weight = torch.ones(2, 3, 6, 6), torch.ones(4, 3, 3, 3)
    for convolve in (torch.conv2d, conv2d):
        with pytest.raises(RuntimeError):
            convolve(images, weight, bias, *settings)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_what_is_traced_is_torchs(use):
    use("windows")
    (images, weight, _), settings = arguments(CASES[0], torch.float32)
    weight.requires_grad_()

    def function(images, weight):
        return conv2d(images, weight, None, *settings)

    # It compares with the function, which goes another way where nothing is traced.
    traced = torch.jit.trace(function, (images, weight), check_tolerance=1e-4)
    assert "convolution" in str(traced.graph) and "Convolution" not in str(traced.graph)
    for given in (images, images[:3]):
        torch.testing.assert_close(
            traced(given, weight), torch.conv2d(given, weight, None, *settings)
        )
    graph = make_fx(function, tracing_mode="symbolic")(images, weight).code
    assert "aten.convolution" in graph and "mm" not in graph


def test_products_that_torch_may_round_are_not_taken_for_convolutions(use):
    use("windows")
    tensors, settings = arguments(CASES[0], torch.float32)
    expected = results(torch.conv2d, [one.double() for one in tensors], settings)
    compiled = torch.compile(conv2d, backend="aot_eager", fullgraph=True)
    torch.set_float32_matmul_precision("medium")
    try:
        for convolve in (conv2d, compiled):
            assert_close(results(convolve, tensors, settings), expected, 3e-6)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dtype, way", [(torch.float32, "torch"), (torch.bfloat16, "windows")])
def test_what_onednns_environment_rounds_is_left_to_onednn(use, dtype, way, monkeypatch):
    use("windows")
    (images, weight, _), settings = arguments(CASES[0], dtype)
    assert ways_of(images, weight, *settings)["forward"] == "windows"
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    precisions._onednn_rounds.cache_clear()
    try:
        assert ways_of(images, weight, *settings)["forward"] == way
    finally:
        monkeypatch.undo()
        precisions._onednn_rounds.cache_clear()


def test_tensors_of_another_class_are_left_to_it(use):
    use("windows")

    class Own(torch.Tensor):
        pass

    (images, weight, bias), settings = arguments(CASES[0], torch.float32)
    assert type(conv2d(images.as_subclass(Own), weight, bias, *settings)) is Own


def test_groups_are_merged_for_processors_with_tiles(use):
    use("merged groups")
    (images, weight, bias), settings = arguments(
        (3, 24, 48, (5, 4), (3, 3), (2, 1), (1, 1), (1, 1))
    )
    tensors = [images, weight[:, :4], bias]
    halves = [one.bfloat16() for one in tensors]
    assert set(ways_of(*halves[:2], *settings, groups=6).values()) == {"merged groups"}
    convolve, own = (functools.partial(f, groups=6) for f in (conv2d, torch.conv2d))
    exact = results(own, [one.double() for one in halves], settings)
    assert_close(results(convolve, halves, settings), exact, 1e-2)
    assert may_gain(24 * 6, 48, "bfloat16", groups=6)
    assert not may_gain(24 * 6, 48, "float32", groups=6)


def test_groups_that_do_not_divide_the_filters_are_torchs_error(use):
    use("merged groups")
    images, weight = torch.ones(2, 128, 4, 4).bfloat16(), torch.ones(96, 2, 3, 3).bfloat16()
    with pytest.raises(RuntimeError, match="to be divisible by 64"):
        conv2d(images, weight, groups=64)


@pytest.mark.parametrize("settings", [(2, 1), ((1, 1), "same"), ([2, 2], [1, 1])])
def test_whatever_else_torch_takes_is_taken_when_compiled(use, settings):
    use("windows")
    images, weight = torch.randn(2, 32, 6, 6), torch.randn(32, 32, 3, 3)
    compiled = torch.compile(lambda x, w: conv2d(x, w, None, *settings), backend="eager")
    expected = torch.conv2d(images, weight, None, *settings)
    torch.testing.assert_close(compiled(images, weight), expected)
    assert set(ways_of(images, weight, *settings).values()) == {"torch"}


def test_what_is_compiled_in_transforms_of_torch_is_torchs(use):
    use("windows")
    images, weight = torch.randn(2, 32, 6, 6), torch.randn(32, 32, 3, 3)

    def each_gradient(weight, images):
        def total(weight, image):
            return conv2d(image[None], weight).square().sum()

        return torch.vmap(torch.func.grad(total), (None, 0))(weight, images)

    expected = each_gradient(weight, images)
    found = torch.compile(each_gradient, backend="eager", fullgraph=True)(weight, images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_what_torch_refuses_is_refused_when_compiled(use):
    use("windows")
    images, weight = torch.randn(2, 32, 6, 6), torch.randn(32, 32, 3, 3)
    compiled = torch.compile(lambda x, w: conv2d(x, w, None, (1, 1), (-1, -1)), backend="eager")
    with pytest.raises(RuntimeError, match="negative padding is not supported"):
        compiled(images, weight)


def test_memory_that_oneDNN_has_laid_out_is_left_to_torch(use):
    use("windows")
    images, weight = torch.randn(2, 32, 6, 6), torch.randn(32, 32, 3, 3)
    found = conv2d(images.to_mkldnn(), weight.to_mkldnn()).to_dense()
    torch.testing.assert_close(found, torch.conv2d(images, weight))
