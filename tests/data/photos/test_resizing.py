import keras_dawn
from keras_dawn.data import (
    BatchTransform,
    Hardest,
    InOrder,
    LossMemory,
    MixUp,
    Normalize,
    OneHot,
    RandomFlip,
    Shuffled,
)
from keras_dawn.data.photos import RandomResizedCrop, ResizingImages, ValidationImages
from keras_dawn.data.photos.jpeg import decode_crop
from keras_dawn.data.photos.photo import read_header
from keras_dawn.distributed.sharding import Share

import keras
import numpy as np
import pytest
import simplejpeg
import torch


def any_size_model():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.01), loss, metrics=["accuracy"])
    return model


class Sizes(keras.callbacks.Callback):
    """Records the size of each batch as it is fetched, right before its step."""

    def __init__(self, data):
        super().__init__()
        self.seen, self.data = [], data
        portions = data._portions

        def noted():
            for images, *rest in portions():
                self.latest = tuple(images.shape[1:3])
                yield images, *rest

        data._portions = noted

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append((self.epoch, batch, self.latest))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("accelerated", [False, True])
def test_every_batch_of_an_epoch_has_that_epochs_size(train, val, threads, accelerated):
    data = ResizingImages(train, 5, image_size={0: 16, 1: 24, 3: 32}, threads=threads)
    sizes = Sizes(data)
    model = any_size_model()
    if accelerated:
        keras_dawn.accelerate(model)
    model.fit(
        data,
        validation_data=ValidationImages(val, 4, image_size=40),
        epochs=4,
        verbose=0,
        shuffle=False,
        callbacks=[sizes],
    )
    expected = {0: 16, 1: 24, 2: 24, 3: 32}
    assert sizes.seen == [(e, b, (expected[e],) * 2) for e in range(4) for b in range(4)]


def test_an_accelerated_fit_that_starts_later_has_the_later_size(train):
    data = ResizingImages(train, 5, image_size={0: 16, 2: 32})
    sizes = Sizes(data)
    model = keras_dawn.accelerate(any_size_model())
    model.fit(data, initial_epoch=2, epochs=3, verbose=0, shuffle=False, callbacks=[sizes])
    assert {size for _, _, size in sizes.seen} == {(32, 32)}


def batches(data, epoch):
    data.set_epoch(epoch)
    return [(images.clone(), labels.clone()) for images, labels in data]


def test_batches_depend_on_seed_and_epoch_alone(train):
    one = ResizingImages(train, 6, image_size=16, threads=1, sampler=Shuffled(4))
    other = ResizingImages(train, 6, image_size=16, threads=4, sampler=Shuffled(4))
    batches(other, 0)
    for (a, c), (b, d) in zip(batches(one, 3), batches(other, 3), strict=True):
        assert torch.equal(a, b) and torch.equal(c, d)
    again = batches(ResizingImages(train, 6, image_size=16, sampler=Shuffled(5)), 3)
    assert not torch.equal(batches(one, 3)[0][0], again[0][0])


def test_ranks_together_see_what_one_process_sees(train):
    whole = ResizingImages(train, 8, image_size=16, sampler=Shuffled(4))
    expected = batches(whole, 1)
    parts = []
    for rank in range(2):
        data = ResizingImages(train, 8, image_size=16, sampler=Shuffled(4))
        data.set_share(Share(rank, 2), training=True)
        parts.append(batches(data, 1))
    for number, (images, labels) in enumerate(expected):
        for rank in range(2):
            assert torch.equal(images[rank::2], parts[rank][number][0])
            assert torch.equal(labels[rank::2], parts[rank][number][1])


def test_pixels_are_the_normalised_crop(train):
    data = ResizingImages(
        train, 24, image_size=16, sampler=InOrder(),
        transforms=[
            RandomResizedCrop((1.0, 1.0)), Normalize((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
        ],
    )  # fmt: skip
    images, labels = next(iter(data))
    assert labels.tolist() == train.labels.tolist()
    photo = read_header(train[3][0])
    crop = data.transforms.crops[0]
    draws = data._job(torch.tensor([3]), 0, 16, crop).draws[0].tolist()
    pixels = decode_crop(photo, crop.box(photo.width, photo.height, (16, 16), draws), (16, 16))
    expected = (pixels.numpy() / 255 - (0.4, 0.5, 0.6)) / (0.1, 0.2, 0.3)
    assert np.allclose(images[3].numpy(), expected, atol=1e-5)


def test_half_the_photos_are_mirrored_each_epoch(train):
    plain = ResizingImages(train, 24, image_size=16, sampler=InOrder(), transforms=[])
    flipped = ResizingImages(train, 24, image_size=16, sampler=InOrder())
    a, b = batches(plain, 0)[0][0], batches(flipped, 0)[0][0]
    same = (a == b).flatten(1).all(1)
    mirrored = (a == b.flip(2)).flatten(1).all(1)
    assert (same | mirrored).all() and 4 < int(mirrored.sum()) < 20


class Slopes:
    """The same photo many times: red grows from left to right, green from top to bottom."""

    def __init__(self, count):
        across, down = np.meshgrid(np.arange(64) * 4, np.arange(64) * 4)
        pixels = np.stack([across, down, np.zeros_like(across)], -1).astype(np.uint8)
        self.count, self.data = count, simplejpeg.encode_jpeg(pixels, 98, colorsubsampling="444")

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.data, index % 2

    def name(self, index):
        return str(index)


def crops_of(images):
    """Width, height, left and top of the crops of `Slopes`, and which ones are mirrored."""
    red, green = images[..., 0].mean(1), images[..., 1].mean(2)
    mirrored = red[:, 0] > red[:, -1]
    width, left = (red[:, 0] - red[:, -1]).abs(), red.min(1).values
    height, top = green[:, -1] - green[:, 0], green[:, 0]
    return torch.stack([width, height, left, top]), mirrored.float()


def unrelated(one, other):
    """Whether two series are, as far as 400 numbers tell."""
    return abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.2


def slopes(seed, epoch):
    data = ResizingImages(
        Slopes(400),
        400,
        image_size=8,
        sampler=InOrder(seed),
        transforms=[RandomFlip(), Normalize()],
    )
    return crops_of(batches(data, epoch)[0][0])


def test_which_photos_are_mirrored_has_nothing_to_do_with_their_crops():
    crops, mirrored = slopes(seed=0, epoch=0)
    width, height, left, top = crops
    for numbers in (width, height, left, top, width * height, width / height):
        assert unrelated(numbers, mirrored)


@pytest.mark.parametrize("seed, epoch", [(7, 0), (0, 1)])
def test_another_seed_or_epoch_has_other_crops_and_flips(seed, epoch):
    (crops, mirrored), (others, also) = slopes(0, 0), slopes(seed, epoch)
    assert unrelated(mirrored, also)
    assert all(unrelated(*pair) for pair in zip(crops, others, strict=True))


def test_crops_are_those_of_the_epoch():
    small = RandomResizedCrop((0.25, 0.25), (1.0, 1.0))
    data = ResizingImages(
        Slopes(2), 2, image_size=32,
        transforms={
            0: [RandomResizedCrop((1.0, 1.0)), Normalize(scale=255)],
            1: [small, RandomFlip(), Normalize(scale=255)],
        },
    )  # fmt: skip
    widths = [float(crops_of(batches(data, epoch)[0][0])[0][0].max()) for epoch in (0, 1)]
    assert widths == pytest.approx([4 * 62, 4 * 31], abs=4)  # pixels of 4 levels each


def test_another_seed_or_epoch_has_another_order(train):
    def order(seed, epoch):
        data = ResizingImages(train, 24, image_size=16, sampler=Shuffled(seed))
        return batches(data, epoch)[0][1].tolist()

    orders = [order(0, 0), order(7, 0), order(0, 1), sorted(train.labels.tolist())]
    assert all(sorted(one) == orders[-1] for one in orders)
    assert len(set(map(tuple, orders))) == 4


def test_batches_epochs_seeds_and_ranks_are_mixed_by_draws_of_their_own():
    seen = []

    class Mix(BatchTransform):
        def __call__(self, images, labels, entropy):
            seen.append(float(np.random.default_rng(entropy).random()))
            return images, labels

    for seed in (0, 7):
        for rank in (0, 1):
            data = ResizingImages(
                Slopes(8), 4, image_size=8, transforms=[Mix(), Mix()], sampler=Shuffled(seed)
            )
            data.set_share(Share(rank, 2), training=True)
            for epoch in (0, 1):
                batches(data, epoch)
    assert len(seen) == len(set(seen)) == 2 * 2 * 2 * 2 * 2  # two in each list


def test_photos_can_be_the_hardest_and_each_batch_is_remembered(train):
    memory = LossMemory(24)
    memory.losses = torch.arange(24.0)
    data = ResizingImages(train, 4, image_size=16, sampler=Hardest(memory, 0.5, at_random=0.0))
    seen = []
    for _, labels in data:
        indices = memory._indices  # those whose losses the step will give
        assert labels.tolist() == train.labels[indices].tolist()
        seen += indices.tolist()
    assert len(data) == 3 and sorted(seen) == list(range(12, 24))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_rectangular_evaluation_sees_every_photo_once_in_its_shape(val, world_size):
    seen = []
    for rank in range(world_size):
        data = ValidationImages(val, 4, image_size=24, rectangular=True)
        data.set_share(Share(rank, world_size), training=False)
        shapes = [(tuple(images.shape[1:3]), labels) for images, labels in data]
        assert len(shapes) == len(data)
        for (height, width), labels in shapes:
            assert min(height, width) == 24 and height % 8 == 0 and width % 8 == 0
            seen.extend(labels.tolist())
        ratios = [width / height for (height, width), _ in shapes]
        assert ratios == sorted(ratios)
    assert sorted(seen) == sorted(val.labels.tolist())


def test_a_rectangle_has_the_mean_shape_of_its_batch():
    class Wide(Slopes):
        def __getitem__(self, index):
            pixels = np.zeros((40, 40 if index else 80, 3), np.uint8)
            return simplejpeg.encode_jpeg(pixels), index

    ((images, _),) = ValidationImages(Wide(2), 2, image_size=32, rectangular=True)
    assert images.shape == (2, 32, 48, 3)  # ratios 1 and 2


def test_photos_are_evaluated_on_the_middle_of_fast_ais_entry():
    """By hand: 64 pixels become int(1.14 · 28) = 31, of which 28 are taken, so 58 of the 64."""
    source = Slopes(1)
    ((images, _),) = ValidationImages(source, 1, image_size=28, transforms=[Normalize(scale=255)])
    expected = decode_crop(read_header(source.data), (3, 3, 58, 58), (28, 28))
    torch.testing.assert_close(images[0], expected.float())


def test_a_model_of_any_size_is_evaluated_on_rectangles(val):
    model = any_size_model()
    data = ValidationImages(val, 4, image_size=24, rectangular=True)
    plain = model.evaluate(data, verbose=0)
    keras_dawn.accelerate(model)
    assert model.evaluate(data, verbose=0) == pytest.approx(plain, rel=1e-5)


def test_validation_labels_can_be_probabilities(val):
    ((_, labels),) = ValidationImages(val, 100, image_size=16, transforms=[OneHot(7)])
    assert torch.equal(labels, torch.eye(7)[torch.as_tensor(val.labels)])
    with pytest.raises(ValueError, match="above every label"):
        ValidationImages(val, 4, image_size=16, transforms=[OneHot(2)])
    with pytest.raises(ValueError, match="CenterCrop"):
        ValidationImages(val, 4, image_size=16, transforms=[RandomResizedCrop()])
    with pytest.raises(ValueError, match="takes no MixUp"):
        ValidationImages(val, 4, image_size=16, transforms=[OneHot(3), MixUp()])
    with pytest.raises(ValueError, match="must be one list"):
        ValidationImages(val, 4, image_size=16, transforms={0: [], 3: [OneHot(3)]})


def test_photos_without_a_normalize_are_normalised_by_imagenets_numbers(train):
    settings = {"image_size": 16, "sampler": InOrder()}
    ((default, _), *_) = ResizingImages(train, 4, transforms=[], **settings)
    ((unit, _), *_) = ResizingImages(train, 4, transforms=[Normalize()], **settings)
    expected = (unit - torch.tensor((0.485, 0.456, 0.406))) / torch.tensor((0.229, 0.224, 0.225))
    torch.testing.assert_close(default, expected)
    shown = repr(ResizingImages(train, 4, image_size=8).transforms)
    assert "RandomFlip(), Normalize(mean=(0.485, 0.456, 0.406)" in shown


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"image_size": 4}, "from 8 up"),
        ({"image_size": {2: 128}}, "begins with epoch 0"),
        ({"image_size": 32, "batch_size": 0}, "batch_size"),
        ({"image_size": 32, "batch_size": 100}, "No batch"),
    ],
)
def test_bad_settings_say_what_is_expected(train, arguments, words):
    with pytest.raises(ValueError, match=words):
        ResizingImages(train, **{"batch_size": 4, **arguments})


@pytest.mark.parametrize("made", [ResizingImages, ValidationImages])
def test_a_path_is_no_source_and_the_error_says_what_is(made, photo_folder):
    for path in (photo_folder / "train", str(photo_folder / "train")):
        with pytest.raises(ValueError, match="ImageFolder.*train"):
            made(path, 4, image_size=16)


def test_an_error_of_the_source_reaches_the_training(train):
    class Broken:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(ResizingImages(Broken(), 4, image_size=16)))
