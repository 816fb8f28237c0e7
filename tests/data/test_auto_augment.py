"""RandAugment, TrivialAugment, erasing: held against torchvision's on the same draws."""

from keras_dawn.data import (
    ColorJitter,
    CutMix,
    DeviceImages,
    MixUp,
    Normalize,
    OneHot,
    PerImage,
    RandAugment,
    RandomErasing,
    RandomRotation,
    Shuffled,
    TrivialAugment,
)
from keras_dawn.data.auto_augment import RAND, TRIVIAL, _magnitudes, _signed
from keras_dawn.data.operations import OPERATIONS, apply_operations
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos import ImageFolder, ResizingImages
from keras_dawn.plots import show_batch

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as v2

NAMES = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "color": "Color",
    "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize",
    "solarize": "Solarize", "auto_contrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip


def pictures(count=24, height=20, width=28, channels=3, seed=0):
    """Dark and bright pictures, smooth and noisy ones."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (count, height, width, channels))
    slope = np.linspace(20, 200, width)[None, None, :, None]
    slope = slope + random.integers(-20, 50, (count, 1, 1, channels))
    mixed = np.where(np.arange(count)[:, None, None, None] % 2, noise, slope)
    return torch.from_numpy(mixed.clip(0, 255).astype(np.uint8))


def tables(images):
    """The magnitudes of RandAugment and of TrivialAugment."""
    size = tuple(images.shape[1:3])
    return [_magnitudes(size, images.device, **most) for most in (RAND, TRIVIAL)]


def torchvisions(kind, image, name, magnitude):
    moved = image.permute(2, 0, 1)
    made = kind()._apply_image_or_video_transform(
        moved, NAMES[name], float(magnitude), v2.InterpolationMode.NEAREST, {}
    )
    return made.permute(1, 2, 0)


def almost_equal(found, expected, name):
    difference = (found.int() - expected.int()).abs()
    if name in ("shear_x", "shear_y", "rotate"):  # nearest pixels, where two are as near
        return float((difference > 0).float().mean()) < 0.02
    return int(difference.max()) <= (1 if name in ("sharpness", "color") else 0)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_torchvisions(name, channels):
    images = pictures(channels=channels)
    number = torch.full((24,), OPERATIONS.index(name))
    for table in tables(images):
        magnitude = _signed(table[number, torch.arange(24) + 5], number, torch.arange(24) % 2 == 1)
        found = apply_operations(images, number, magnitude)
        assert found.dtype == torch.uint8
        for index in range(24):
            expected = torchvisions(v2.RandAugment, images[index], name, magnitude[index])
            assert almost_equal(found[index], expected, name), (index, magnitude[index])


def test_magnitudes_are_torchvisions():
    images = pictures()
    spaces = (v2.RandAugment._AUGMENTATION_SPACE, v2.TrivialAugmentWide._AUGMENTATION_SPACE)
    for space, table in zip(spaces, tables(images), strict=True):
        for row, name in zip(table, OPERATIONS, strict=True):
            values, signed = space[NAMES[name]]
            expected = values(31, 20, 28)
            if expected is not None:
                np.testing.assert_allclose(row, expected, rtol=1e-5)
            number = torch.tensor([OPERATIONS.index(name)])
            turned = _signed(torch.ones(1), number, torch.ones(1, dtype=torch.bool))
            assert (float(turned) < 0) == signed


class Recorded:
    """Draws, and what was drawn."""

    def __init__(self, indices, seed=0):
        self.random, self.seen, self.epoch = PerImageRandom(seed, 0, indices), [], 0

    def __getattr__(self, name):
        def draw(*arguments):
            self.seen.append(getattr(self.random, name)(*arguments))
            return self.seen[-1]

        return draw


@pytest.mark.parametrize("transform", [RandAugment(2, 9), RandAugment(3, 20), TrivialAugment()])
def test_a_policy_is_torchvisions_with_the_operations_that_were_drawn(transform):
    images, random = pictures(), Recorded(torch.arange(24))
    found = transform(images, random)
    trivial = isinstance(transform, TrivialAugment)
    draws = random.seen
    space = (v2.TrivialAugmentWide if trivial else v2.RandAugment)._AUGMENTATION_SPACE
    wrong = 0
    for index in range(24):
        image = images[index]
        for turn in range(1 if trivial else transform.count):
            if trivial:
                operation, strength, coin = (draw[index] for draw in draws)
            else:
                operation, coin = draws[2 * turn][index], draws[2 * turn + 1][index]
                strength = transform.strength
            name = OPERATIONS[operation]
            values, signed = space[NAMES[name]]
            magnitudes = values(31, 20, 28)
            magnitude = 0.0 if magnitudes is None else float(magnitudes[strength])
            magnitude *= -1 if signed and coin else 1
            image = torchvisions(v2.RandAugment, image, name, magnitude)
        wrong += float(((found[index].int() - image.int()).abs() > 2).float().mean() > 0.03)
    assert wrong <= 1  # a shifted pixel more may matter to what follows
    assert len({int(d) for draw in draws[:1] for d in draw}) > 8


@pytest.mark.parametrize("transform", [RandAugment(), TrivialAugment(), RandomErasing(1.0)])
def test_what_an_image_gets_depends_on_seed_epoch_and_image_alone(transform):
    images = pictures()

    def made(places, seed=0, epoch=0):
        return transform(images[places], PerImageRandom(seed, epoch, places))

    some = torch.tensor([17, 3, 8])
    assert torch.equal(made(torch.arange(24))[some], made(some))
    for other in ({"seed": 1}, {"epoch": 1}):
        assert not torch.equal(made(torch.arange(24)), made(torch.arange(24), **other))


def test_floats_are_taken_as_bytes():
    found, expected = (
        TrivialAugment()(images, PerImageRandom(0, 0, torch.arange(24)))
        for images in (pictures() / 255, pictures())
    )
    assert torch.equal(found, expected)


def test_an_erased_rectangle_is_torchvisions():
    images = pictures(200).float()
    erasing = RandomErasing(1.0, value=7)
    top, left, height, width = erasing.boxes(20, 28, PerImageRandom(0, 0, torch.arange(200)))
    found = erasing(images, PerImageRandom(0, 0, torch.arange(200)))
    for index in range(200):
        box = [int(n[index]) for n in (top, left, height, width)]
        expected = v2.functional.erase(images[index].permute(2, 0, 1), *box, torch.tensor(7.0))
        assert torch.equal(found[index], expected.permute(1, 2, 0))
        assert 0 <= box[0] <= 20 - box[2] and 0 <= box[1] <= 28 - box[3]


@pytest.mark.parametrize("scale", [(0.02, 0.33), (0.6, 1.0)])  # of these few fit
def test_erased_areas_and_shapes_are_distributed_as_torchvisions(scale):
    torch.manual_seed(0)
    theirs = v2.RandomErasing(1.0, scale)
    drawn = [theirs.make_params([torch.zeros(3, 100, 80)]) for _ in range(3000)]
    expected = np.array([[d["i"], d["j"], d["h"], d["w"]] for d in drawn if d["v"] is not None])
    boxes = RandomErasing(1.0, scale).boxes(100, 80, PerImageRandom(0, 0, torch.arange(3000)))
    found = torch.stack(boxes, 1).numpy()
    found = found[found[:, 2] > 0]
    assert len(found) == pytest.approx(len(expected), rel=0.02)
    for column in range(4):
        assert found[:, column].mean() == pytest.approx(expected[:, column].mean(), rel=0.06)
        assert found[:, column].std() == pytest.approx(expected[:, column].std(), rel=0.06)


def test_as_many_images_are_erased_as_asked():
    images = torch.ones(4000, 8, 8, 1)
    erased = RandomErasing(0.25)(images, PerImageRandom(0, 0, torch.arange(4000)))
    share = float((erased == 0).flatten(1).any(1).float().mean())
    assert share == pytest.approx(0.25, abs=0.025)


def test_torchvisions_transforms_are_used_as_they_are():
    pixels = pictures().numpy()
    theirs = v2.Compose([v2.RandomCrop(16), v2.TrivialAugmentWide()])

    def made(batch_size, seed=0):
        data = DeviceImages(
            pixels, np.arange(24) % 3, batch_size, transforms=[theirs], sampler=Shuffled(seed)
        )
        before = torch.random.get_rng_state()
        images = torch.cat([images for images, _ in data])
        assert torch.equal(torch.random.get_rng_state(), before)
        return images

    images = made(6)
    assert images.shape == (24, 16, 16, 3) and images.dtype == torch.float32
    assert torch.equal(images, made(8)) and not torch.equal(images, made(6, seed=1))
    # By hand: the seed of the first image, then torchvision's own call.
    first = int(Shuffled(0).order(24, 0)[0])
    seed = int(PerImageRandom(0, 0, torch.tensor([first])).integers(0, 2**31))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        expected = theirs(torch.from_numpy(pixels[first]).permute(2, 0, 1))
    torch.testing.assert_close(images[0], expected.permute(1, 2, 0) / 255)
    with pytest.raises(ValueError, match="several sizes"):
        list(DeviceImages(pixels, np.arange(24), 6, transforms=[PerImage(v2.RandomResize(8, 30))]))


@pytest.mark.parametrize(
    "transforms",
    [[RandAugment(), RandomErasing()], [TrivialAugment()], [ColorJitter(0.2, 0.2, 0.2)],
     [RandomRotation(10)], [OneHot(3), MixUp(0.4)], [OneHot(3), CutMix()],
     [v2.RandomHorizontalFlip()]],
)  # fmt: skip
def test_the_same_list_serves_arrays_and_photos(transforms, tmp_path):
    from PIL import Image

    for number, image in enumerate(pictures(6, 32, 32).numpy()):
        path = tmp_path / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    source = ImageFolder(tmp_path)
    photos = ResizingImages(source, 6, image_size=16, transforms=transforms)
    arrays = DeviceImages(pictures().numpy(), np.arange(24) % 3, 6, transforms=transforms)
    for data, size in ((photos, (16, 16)), (arrays, (20, 28))):
        images, labels = next(iter(data))
        assert images.shape == (6, *size, 3) and images.dtype == torch.float32
        assert labels.shape == ((6, 3) if isinstance(transforms[0], OneHot) else (6,))
        figure = show_batch(data)
        assert len(figure.axes) == 6


def test_show_batch_takes_the_normalisation_back():
    pixels = pictures(4).numpy()
    for normalize in (Normalize(0.4, 0.2), Normalize((10, 20, 30), (5, 6, 7), scale=255)):
        data = DeviceImages(pixels, [0, 1, 2, 0], 4, transforms=[normalize])
        figure = show_batch(data, class_names=["a", "b", "c"])
        shown = figure.axes[1].images[0].get_array()
        np.testing.assert_allclose(shown, pixels[1] / 255, atol=1e-4)
        assert figure.axes[2].get_title() == "c"


def test_bad_settings_say_what_is_expected():
    for make, words in (
        (lambda: RandAugment(0), "from 1 up"),
        (lambda: RandAugment(2, 31), "from 0 to 30"),
        (lambda: RandomErasing(2), r"in \[0, 1\]"),
        (lambda: RandomErasing(scale=(0.5, 0.2)), "low ≤ high ≤ 1"),
        (lambda: RandomErasing(scale=0.2), "`scale` must be"),
        (lambda: RandomErasing(scale=(0.2, 2)), "`scale` must be"),
        (lambda: RandomErasing(ratio=(0.5, float("inf"))), "`ratio` must be"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match="before Normalize"):
        DeviceImages(pictures(), np.zeros(24, int), 4, transforms=[Normalize(), RandAugment()])
