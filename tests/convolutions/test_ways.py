"""Every way of a convolution against torch's in float64."""

import functools

from keras_dawn.convolutions import added_up as added_up_module
from keras_dawn.convolutions import copies, depthwise
from keras_dawn.convolutions.added_up import added_up
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.taps import to_weight_by_taps
from keras_dawn.convolutions.torchs_own import gradients
from keras_dawn.convolutions.way import STAGES, Way
from keras_dawn.convolutions.ways import TORCH, WAYS
from keras_dawn.convolutions.windows import TransposedFirst, Windows

import pytest
import torch

SHAPES = [
    Sizes(16, 5, 7, (4, 4), (3, 3), padding=(1, 1)),
    Sizes(16, 3, 4, (5, 2), (3, 3), padding=(1, 1)),
    Sizes(1, 4, 5, (7, 6), (3, 3), padding=(1, 1)),
    Sizes(3, 1, 6, (8, 9), (3, 3), padding=(0, 0)),
    Sizes(2, 6, 1, (12, 11), (3, 3), padding=(1, 1)),
    Sizes(4, 5, 3, (8, 8), (3, 3), (2, 2), (1, 1)),
    Sizes(4, 5, 3, (7, 9), (3, 3), (2, 2), (1, 1)),
    Sizes(2, 3, 4, (9, 8), (3, 2), (2, 3), (1, 0)),
    Sizes(2, 3, 4, (11, 12), (7, 7), (2, 2), (3, 3)),
    Sizes(2, 3, 4, (8, 9), (4, 4), (4, 4)),
    Sizes(2, 3, 4, (9, 9), (2, 2), (3, 3)),
    Sizes(2, 3, 4, (6, 5), (3, 3), padding=(3, 2)),
    Sizes(16, 3, 4, (9, 8), (3, 5), padding=(2, 2), dilation=(2, 1)),
    Sizes(2, 3, 4, (9, 10), (3, 3), padding=(1, 2), dilation=(1, 3)),
    Sizes(16, 3, 4, (1, 13), (1, 5), padding=(0, 2)),
    Sizes(10, 3, 4, (3, 5), (3, 3), padding=(1, 1)),
    Sizes(7, 3, 4, (3, 5), (3, 3), padding=(1, 1)),
    Sizes(2, 3, 4, (1, 1), (3, 3), padding=(1, 1)),
    Sizes(3, 5, 4, (6, 7), (1, 1)),
    Sizes(3, 5, 4, (6, 7), (1, 1), (2, 3)),
    Sizes(1, 1, 1, (1, 1), (1, 1)),
    Sizes(2, 3, 4, (5, 4), (1, 1), padding=(1, 1)),
    Sizes(8, 4, 5, (6, 6), (5, 5), padding=(2, 2)),
]
DEPTHWISE = [  # images larger and smaller than the kernel, several filters a channel
    Sizes(3, 6, 6, (7, 6), (5, 5), padding=(2, 2), groups=6),
    Sizes(3, 4, 4, (2, 2), (3, 3), padding=(1, 1), groups=4),
    Sizes(2, 5, 10, (9, 8), (7, 7), (2, 2), (3, 3), groups=5),
    Sizes(2, 4, 4, (9, 8), (4, 4), (2, 3), groups=4),
    Sizes(1, 3, 3, (6, 6), (3, 3), padding=(1, 1), groups=3),
]
GROUPED = [  # of which some, all or a number that divides them become one
    Sizes(3, 4, 6, (7, 6), (3, 3), padding=(1, 1), groups=2),
    Sizes(2, 96, 48, (5, 4), (3, 2), (2, 1), (1, 0), groups=12),
    Sizes(2, 40, 80, (6, 5), (1, 3), padding=(0, 2), dilation=(1, 2), groups=10),
    Sizes(1, 128, 128, (4, 1), (1, 1), groups=32),
]
SMALL_PARTS = [Windows("windows, one image each", 1), TransposedFirst("transposed, one each", 1)]


class ByTaps(Way):
    """The gradient to the weights, one place of the kernel or one row of it at a time."""

    def __init__(self, name, rows):
        super().__init__(name)
        self._rows = rows

    def to_weight(self, images, change, sizes):
        at_once = sizes.kernel[1] if self._rows else 1
        return to_weight_by_taps(images, change, sizes, at_once, transposes=self._rows)


BY_TAPS = [ByTaps("a place at a time", False), ByTaps("a row at a time", True)]
LIMITS = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 1e-2}


def dense(tensor):
    """The second axis innermost in memory, also where an axis has a size of 1."""
    return tensor.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def given_and_expected(sizes, dtype):
    """What each stage is given, in a precision, and what it gives in float64, both by stage."""
    random = torch.Generator().manual_seed(0)
    images, change, weight = (
        torch.randn(sizes.shape(stage), generator=random, dtype=torch.float64).to(dtype)
        for stage in ("to_input", "forward", "to_weight")
    )
    leaves = [one.to(torch.float64, copy=True).requires_grad_() for one in (images, weight)]
    settings = sizes.stride, sizes.padding, sizes.dilation, sizes.groups
    result = torch.conv2d(*leaves, None, *settings)
    gradients = torch.autograd.grad(result, leaves, change.double())
    images, change, weight = (dense(one.detach()) for one in (images, change, weight))
    given = (images, weight), (change, weight), (images, change)
    expected = result.detach(), *gradients
    return dict(zip(STAGES, given, strict=True)), dict(zip(STAGES, expected, strict=True))


def scale(stage, sizes):
    """What a sum of random numbers is about: rounding is measured against it."""
    count = {
        "forward": sizes.kernel[0] * sizes.kernel[1] * sizes.channels // sizes.groups,
        "to_input": sizes.kernel[0] * sizes.kernel[1] * sizes.filters // sizes.groups,
        "to_weight": sizes.batch * sizes.result[0] * sizes.result[1],
    }
    return count[stage] ** 0.5


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("way", [*WAYS.values(), *SMALL_PARTS, *BY_TAPS], ids=lambda way: way.name)
def test_a_way_gives_what_torch_gives_in_float64(way, dtype):
    assert_right(way, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["windows", "transposed", "beside 8", "folded"])
def test_a_way_is_right_with_the_smallest_copies(monkeypatch, name, dtype):
    monkeypatch.setattr(copies, "MOST_BYTES", 1)
    assert_right(WAYS[name], dtype)


def assert_right(way, dtype):
    taken = 0
    if way.name == "in float32" and dtype == torch.float64:
        return  # for half precision
    for sizes in SHAPES + DEPTHWISE + GROUPED:
        given, expected = given_and_expected(sizes, dtype)
        for stage in STAGES:
            if way.name == TORCH or not way.takes(stage, sizes):
                continue
            found = getattr(way, stage)(*given[stage], sizes)
            assert found.shape == expected[stage].shape and found.dtype == dtype
            assert found.permute(0, 2, 3, 1).is_contiguous()
            error = (found.double() - expected[stage]).norm() / expected[stage].numel() ** 0.5
            limit = LIMITS[dtype] * (10 if way.name == "winograd" else 1)
            limit *= 10 if way.name == "winograd" and dtype == torch.bfloat16 else 1
            assert float(error) < limit * scale(stage, sizes), (stage, sizes)
            taken += 1
    assert taken or way.name == TORCH


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torchs_own_gradients_one_by_one_are_those_of_one_call(dtype):
    """Whatever memory stands for the tensor of which only the shape is read."""
    own = WAYS[TORCH]
    for sizes in SHAPES + DEPTHWISE + GROUPED:
        given, _ = given_and_expected(sizes, dtype)
        (images, weight), (change, _) = given["forward"], given["to_input"]
        before = change.clone()
        both = gradients(change, images, weight, sizes, (True, True, False))
        for stage, expected in zip(STAGES[1:], both[:2], strict=True):
            torch.testing.assert_close(getattr(own, stage)(*given[stage], sizes), expected)
        assert torch.equal(change, before), sizes


def test_every_stage_of_every_shape_can_go_another_way():
    for sizes in SHAPES:
        for stage in STAGES:
            takers = [way.name for way in WAYS.values() if way.takes(stage, sizes)]
            assert len(takers) > 1, (stage, sizes)


def test_groups_are_merged_or_torchs_own():
    sizes = Sizes(2, 4, 4, (5, 5), (3, 3), padding=(1, 1), groups=2)
    for stage in STAGES:
        takers = [way.name for way in WAYS.values() if way.takes(stage, sizes)]
        assert takers == [TORCH, "merged groups"]
    wide = Sizes(2, 64, 64, (5, 5), (3, 3), padding=(1, 1), groups=2)
    assert not WAYS["merged groups"].fits(wide)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_depthwise_ways_copy_some_images_at_a_time(monkeypatch, dtype):
    monkeypatch.setattr(depthwise, "MOST_BYTES", 1000)
    sizes = Sizes(7, 6, 6, (7, 6), (5, 5), (2, 2), (2, 2), groups=6)
    given, expected = given_and_expected(sizes, dtype)
    for name, stage in (("kernel in parts", "to_weight"), ("in float32", "to_input")):
        found = getattr(WAYS[name], stage)(*given[stage], sizes)
        assert found.dtype == dtype
        error = (found.double() - expected[stage]).norm() / expected[stage].norm()
        assert float(error) < LIMITS[dtype]


@pytest.mark.parametrize("way", WAYS.values(), ids=lambda way: way.name)
def test_what_is_no_number_stays_in_its_image(way):
    for sizes in (sizes for sizes in SHAPES + DEPTHWISE + GROUPED if sizes.batch > 1):
        given, _ = given_and_expected(sizes, torch.float32)
        for stage in ("forward", "to_input"):
            if way.takes(stage, sizes):
                given[stage][0][-1] = torch.nan
                assert getattr(way, stage)(*given[stage], sizes)[:-1].isfinite().all(), sizes


@pytest.mark.parametrize("count", [1, 2, 999])
def test_bfloat16_is_added_up_in_float32(monkeypatch, count):
    monkeypatch.setattr(added_up_module, "AT_ONCE", 10)  # two rows at a time
    numbers = torch.randn(count, 3, 5).bfloat16()
    found = added_up((one.clone() for one in numbers), count)
    assert torch.equal(found, functools.reduce(torch.add, numbers.float()).bfloat16())
    exact = added_up((one.double() for one in numbers), count)
    torch.testing.assert_close(exact, numbers.double().sum(0))
