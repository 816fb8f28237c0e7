import math

from keras_dawn.data import ColorJitter, Grayscale, RandomErasing, augment
from keras_dawn.data.per_image_random import PerImageRandom

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as V


def draws(count, seed=0, epoch=0):
    return PerImageRandom(seed, epoch, torch.arange(count))


def photos(count=6, size=9, dtype=torch.uint8):
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    )
    return images if dtype == torch.uint8 else images.to(dtype) / 255


class Fixed:
    """Stands in for `PerImageRandom` with given draws."""

    epoch = 0

    def __init__(self, *values):
        self.values = [torch.tensor(value) for value in values]

    def uniform(self, low=0.0, high=1.0):
        return self.values.pop(0)

    integers = uniform

    def coin(self):
        return self.values.pop(0)


class TestPerImageRandom:
    def test_draws_depend_on_nothing_but_seed_epoch_and_image(self):
        whole = PerImageRandom(3, 5, torch.arange(100))
        some = PerImageRandom(3, 5, torch.tensor([42, 7]))
        for draw in ("uniform", "uniform", "coin"):
            ours, theirs = getattr(some, draw)(), getattr(whole, draw)()
            torch.testing.assert_close(ours, theirs[[42, 7]], rtol=0, atol=0)

    @pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
    def test_another_seed_or_epoch_gives_other_draws(self, change):
        first = draws(1000).uniform()
        other = draws(1000, **change).uniform()
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.1

    def test_draws_are_uniform_and_independent(self):
        random = draws(200_000)
        first, second = random.uniform(2.0, 4.0), random.uniform()
        assert first.min() >= 2 and first.max() < 4
        counts = torch.histc((first - 2) / 2, bins=100, min=0, max=1)
        chi_square = ((counts - 2000) ** 2 / 2000).sum()
        assert 99 - 5 * math.sqrt(198) < chi_square < 99 + 5 * math.sqrt(198)
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.01

    def test_integers_and_coins_are_even(self):
        random = draws(90_000)
        counts = torch.bincount(random.integers(-4, 5) + 4)
        assert len(counts) == 9 and (counts - 10_000).abs().max() < 500
        assert abs(random.coin().float().mean() - 0.5) < 0.01

    def test_seeds_beyond_64_bits_and_below_zero_work(self):
        for seed in (-1, 2**70):
            assert torch.isfinite(draws(5, seed=seed).uniform()).all()


@pytest.mark.parametrize("padding", [0, 2, 8])
def test_crop_equals_numpy_reflect_padding(padding):
    images = photos()
    rows = torch.randint(-padding, padding + 1, (6,))
    columns = torch.randint(-padding, padding + 1, (6,))
    cropped = augment.PadCrop(padding)(images, Fixed(rows.tolist(), columns.tolist()))
    for index in range(6):
        padded = np.pad(images[index].numpy(), [(padding, padding)] * 2 + [(0, 0)], mode="reflect")
        top, left = rows[index] + padding, columns[index] + padding
        np.testing.assert_array_equal(cropped[index], padded[top : top + 9, left : left + 9])


def test_crop_offsets_cover_the_padding_evenly():
    images = torch.arange(9, dtype=torch.uint8).view(1, 9, 1, 1).expand(5000, 9, 9, 1)
    first_rows = augment.PadCrop(4)(images, draws(5000))[:, 4, 0, 0]
    assert sorted(first_rows.unique().tolist()) == list(range(9))


def test_flip_mirrors_about_half_of_the_images():
    images = photos(1000, 4)
    flipped = augment.RandomFlip()(images, draws(1000))
    mirrored = (flipped == images.flip(2)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert 430 < mirrored.sum() < 570


def test_alternating_flip_shows_both_sides_in_two_epochs():
    images = photos(1000, 4)
    flip = augment.AlternatingFlip()
    even, odd, again = (flip(images, draws(1000, epoch=epoch)) for epoch in (0, 1, 2))
    torch.testing.assert_close(even, odd.flip(2))
    torch.testing.assert_close(even, again)
    assert 430 < (even == images).flatten(1).all(1).sum() < 570


def test_a_fill_value_that_bytes_cannot_hold_is_refused():
    images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    for value in (0.5, -1, 256):
        for made in (augment.Cutout(4, value), RandomErasing(1.0, value=value)):
            with pytest.raises(ValueError, match="from 0 to 255 where images are uint8"):
                made(images, PerImageRandom(0, 0, torch.arange(2)))
            found = made(images / 255, PerImageRandom(0, 0, torch.arange(2)))
            assert set(found.unique().tolist()) == {0.0, float(value)}


def test_grey_is_made_of_three_colours():
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        Grayscale()(torch.ones(2, 8, 8, 4))


def test_cutout_blanks_a_square_cut_at_the_border():
    images = torch.full((2, 9, 9, 3), 7, dtype=torch.uint8)
    cut = augment.Cutout(4)(images, Fixed([5, 0], [5, 8]))
    expected = images.clone()
    expected[0, 3:7, 3:7] = 0
    expected[1, 0:2, 6:9] = 0
    torch.testing.assert_close(cut, expected)


@pytest.mark.parametrize(
    ("which", "reference"),
    [(0, V.adjust_brightness), (1, V.adjust_contrast), (2, V.adjust_saturation)],
)
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_each_jitter_equals_torchvision(which, reference, factor):
    images = photos(dtype=torch.float32)
    order = [[0.0 if k == which else 1.0] for k in range(3)]  # this one first
    factors = [[factor] if k == which else [1.0] for k in range(3)]
    jitter = ColorJitter(0.5, 0.5, 0.5)
    for index in range(len(images)):
        ours = jitter(images[index : index + 1], Fixed(*factors, *order))
        theirs = reference(images[index].permute(2, 0, 1), factor).permute(1, 2, 0)
        torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=2e-4)


def test_jitter_applies_in_each_images_own_order():
    images = photos(2, dtype=torch.float32)
    factors = [[1.4, 1.4], [0.6, 0.6], [1.3, 1.3]]
    ours = ColorJitter(0.5, 0.5, 0.5)(images, Fixed(*factors, [0.1, 0.9], [0.2, 0.5], [0.3, 0.1]))
    by_name = {"b": V.adjust_brightness, "c": V.adjust_contrast, "s": V.adjust_saturation}
    values = {"b": 1.4, "c": 0.6, "s": 1.3}
    for index, order in enumerate(["bcs", "scb"]):
        image = images[index].permute(2, 0, 1)
        for name in order:
            image = by_name[name](image, values[name])
        torch.testing.assert_close(ours[index], image.permute(1, 2, 0), rtol=1e-4, atol=5e-4)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 0.4])
def test_hues_equal_torchvision(turn):
    colours = torch.eye(3).repeat(2, 1)
    colours[3:] = 1 - colours[3:]  # pure ones, at the bounds of the six parts
    greys = torch.linspace(0, 1, 6)[:, None].expand(6, 3)
    images = torch.cat([photos(6, 4, torch.float32).reshape(-1, 3), colours, greys])[None, None]
    others, order = [[1.0]] * 3, [[0.5], [0.6], [0.7], [0.0]]  # the hue first
    ours = ColorJitter(0.5, 0.5, 0.5, 0.5)(images, Fixed(*others, [turn], *order))
    theirs = V.adjust_hue(images[0].permute(2, 0, 1), turn).permute(1, 2, 0)
    torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=2e-5)
    grey = images[..., :1]
    assert torch.equal(ColorJitter(hue=0.5)(grey, Fixed(*others, [turn], *order)), grey)


def test_a_hue_takes_its_turn_in_each_images_own_order():
    images = photos(2, dtype=torch.float32)
    factors, order = [[1.0, 1.0], [1.0, 1.0], [1.9, 1.9], [0.3, 0.3]], [[0.0, 0.0], [0.1, 0.1]]
    jitter = ColorJitter(0.0, 0.0, 0.9, 0.5)
    ours = jitter(images, Fixed(*factors, *order, [0.5, 0.9], [0.6, 0.8]))
    for index, names in enumerate(["sh", "hs"]):
        image = images[index].permute(2, 0, 1)
        for name in names:
            image = V.adjust_hue(image, 0.3) if name == "h" else V.adjust_saturation(image, 1.9)
        torch.testing.assert_close(ours[index], image.permute(1, 2, 0), rtol=1e-4, atol=5e-4)


@pytest.mark.parametrize("degrees", [-20.0, 0.0, 2.0, 90.0])
@pytest.mark.parametrize("shape", [(21, 21), (16, 24)])
def test_rotation_equals_torchvision_inside_the_image(degrees, shape):
    height, width = shape
    rows = torch.linspace(0, 1, height)[:, None]
    columns = torch.linspace(0, 1, width)[None]
    image = torch.stack([rows + 0 * columns, columns + 0 * rows, rows * columns], dim=-1)
    ours = augment.rotate(image[None], torch.tensor([degrees]))[0]
    theirs = V.rotate(
        image.permute(2, 0, 1), degrees, interpolation=V.InterpolationMode.BILINEAR
    ).permute(1, 2, 0)
    inside = V.rotate(
        torch.ones(1, height, width), degrees, interpolation=V.InterpolationMode.BILINEAR
    )[0]
    inside = (inside > 0.999)[..., None].expand_as(theirs)
    assert inside.float().mean() > 0.4
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=1e-4, atol=1e-4)


def test_rotation_leaves_no_corner_empty():
    images = torch.ones(3, 12, 12, 3)
    torch.testing.assert_close(augment.rotate(images, torch.tensor([45.0, -10.0, 2.0])), images)


@pytest.mark.parametrize(
    "make",
    [
        lambda: augment.PadCrop(-1),
        lambda: augment.PadCrop(9)(photos(), draws(6)),
        lambda: augment.Cutout(0),
        lambda: ColorJitter(-0.1),
        lambda: ColorJitter(hue=0.6),
        lambda: augment.RandomRotation(-1),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_resize_follows_the_epoch_and_equals_torchvision():
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    resize = augment.Resize({4: 32, 0: 20, 2: 24})
    sizes = [resize(images, PerImageRandom(0, e, torch.arange(3))).shape[1] for e in range(6)]
    assert sizes == [20, 20, 24, 24, 32, 32]
    small = resize(images, PerImageRandom(0, 0, torch.arange(3)))
    planes = images.permute(0, 3, 1, 2).float() / 255
    expected = V.resize(planes, [20, 20], antialias=True).permute(0, 2, 3, 1)
    assert torch.allclose(small, expected, atol=1e-6)
    whole = resize(images, PerImageRandom(0, 5, torch.arange(3)))
    assert torch.equal(whole, images.float() / 255)


@pytest.mark.parametrize("size", [0, {2: 16}, {0: 16.5}, {0: 16, -1: 8}, "32"])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(ValueError, match="`size` must be pixels"):
        augment.Resize(size)
