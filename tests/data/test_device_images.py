import warnings

from keras_dawn.data import (
    Balanced,
    DeviceImages,
    InOrder,
    MixUp,
    Normalize,
    OneHot,
    PadCrop,
    RandomFlip,
    Shuffled,
)
from keras_dawn.data.batches import Batches

import keras
import numpy as np
import pytest
import torch


def photos(count=22):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count)


def labels_of(epoch):
    return torch.cat([labels for _, labels in epoch]).tolist()


class Recorder(keras.layers.Layer):
    """A layer that notes what reaches it, and counts nothing else."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, x, training=False):
        if training:
            self.seen.append(x.detach().clone())
        return x


def test_batches_are_normalised_float32_on_the_device():
    images, labels = photos()
    data = DeviceImages(
        images, labels, 10, transforms=[Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))]
    )
    batches = list(data)
    assert [len(y) for _, y in batches] == [10, 10, 2] and len(data) == 3
    assert batches[0][0].dtype == torch.float32 and batches[0][1].dtype == torch.int64
    expected = (images[:10] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(batches[0][0].numpy(), expected, atol=1e-5)


def test_drop_last_leaves_out_what_does_not_fill_a_batch():
    data = DeviceImages(*photos(), 10, drop_last=True)
    assert len(data) == 2 and len(list(data)) == 2


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    data = DeviceImages(*photos(), 5, sampler=Shuffled(1))
    first, second = labels_of(data), labels_of(data)
    assert sorted(first) == sorted(second) == list(range(22))
    assert first != second and first != list(range(22))


def test_order_and_augmentation_are_functions_of_seed_and_epoch():
    def make(batch_size, seed=1):
        return DeviceImages(
            *photos(), batch_size, transforms=[PadCrop(2), RandomFlip()], sampler=Shuffled(seed)
        )

    one, other = make(4), make(9)
    list(one), list(one)
    other.set_epoch(2)
    ours = torch.cat([x for x, _ in one])
    theirs = torch.cat([x for x, _ in other])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)  # whatever the batch size
    assert labels_of(make(4, seed=2)) != labels_of(make(4))
    assert not torch.equal(torch.cat([x for x, _ in make(4, seed=2)]), ours)


def test_another_seed_or_epoch_is_augmented_otherwise():
    def flipped(seed, epoch):
        pixels = np.zeros((400, 1, 2, 1), np.uint8)
        pixels[:, :, 1] = 255  # dark on the left, bright on the right
        data = DeviceImages(
            pixels, np.zeros(400, int), 50, transforms=[RandomFlip()], sampler=InOrder(seed)
        )
        data.set_epoch(epoch)
        return torch.cat([x for x, _ in data])[:, 0, 0, 0] > 0

    first = flipped(0, 0)
    for seed, epoch in ((7, 0), (0, 1)):
        assert 0.4 < float((first == flipped(seed, epoch)).float().mean()) < 0.6


def test_an_unfinished_pass_does_not_count_as_an_epoch():
    data = DeviceImages(*photos(), 5, sampler=Shuffled())
    iter(data)
    next(iter(data))
    assert data.epoch == 0
    list(data)
    assert data.epoch == 1


def test_fit_sees_each_epoch_once_and_in_order():
    x, y = photos(20)
    data = DeviceImages(x, y, 8, transforms=[RandomFlip()], sampler=Shuffled(3))
    recorder = Recorder()
    model = keras.Sequential([keras.Input((8, 8, 3)), recorder, keras.layers.Flatten(),
                              keras.layers.Dense(20)])  # fmt: skip
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(data, validation_data=data, epochs=1, shuffle=False, verbose=0)
    assert "val_loss" in history.history
    data.set_epoch(0)
    recorder.seen.clear()
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    seen = torch.cat(recorder.seen)
    again = DeviceImages(x, y, 8, transforms=[RandomFlip()], sampler=Shuffled(3))
    expected = torch.cat([images for _ in range(3) for images, _ in again])
    torch.testing.assert_close(seen, expected, rtol=0, atol=0)


def test_evaluate_and_predict_take_it():
    x, y = photos(20)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(),
                              keras.layers.Dense(20)])  # fmt: skip
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = DeviceImages(x, y, 8)
    loss = model.evaluate(data, verbose=0)
    floats = (x / 255).astype("float32")
    assert loss == pytest.approx(model.evaluate(floats, y, batch_size=8, verbose=0), rel=1e-5)
    np.testing.assert_allclose(
        model.predict(data, verbose=0), model.predict(floats, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_nothing_passes_through_numpy(monkeypatch):
    data = DeviceImages(*photos(), 5, transforms=[PadCrop(1)])
    order = data.order(0)
    with warnings.catch_warnings():
        monkeypatch.setattr(torch.Tensor, "numpy", None)
        monkeypatch.setattr(torch.Tensor, "__array__", None)
        images, _ = data.batch(order[:5], 0)
    assert images.shape == (5, 8, 8, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 3), "float32")}, "uint8"),
        ({"images": np.zeros((4, 8, 8), "uint8")}, "uint8 of shape"),
        ({"labels": np.zeros(3, int)}, "one for each image"),
        ({"labels": np.zeros(4, "float32")}, "integers"),
        ({"labels": np.zeros((4, 1), int)}, "integers of shape"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"batch_size": 5, "drop_last": True}, "No batch"),
        ({"images": np.zeros((0, 8, 8, 3), "uint8"), "labels": np.zeros(0, int)}, "No batch"),
        (
            {"batch_size": 3, "drop_last": True, "sampler": Balanced([0, 0, 1, 1], per_epoch=2)},
            "No batch can be made of 2 images",
        ),
        ({"transforms": [Normalize((0.1, 0.2))]}, "`mean` must have 1 or 3"),
        ({"transforms": [Normalize(0.1, (0.1, 0.2))]}, "`std` must have 1 or 3"),
        ({"labels": np.arange(4), "transforms": [OneHot(3)]}, "up to 3"),
        ({"labels": np.arange(4) - 1, "transforms": [OneHot(3)]}, "from 0 up, got -1"),
        ({"labels": ["cat", "dog", "cat", "dog"]}, "class numbers, got <U3 such as .*cat"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {
        "images": np.zeros((4, 8, 8, 3), "uint8"),
        "labels": np.zeros(4, int),
        "batch_size": 2,
    }
    with pytest.raises(ValueError, match=message):
        DeviceImages(**{**arguments, **change})


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64, np.int8, bool])
def test_labels_of_any_integers_become_probabilities(kind):
    labels = np.array([1, 0, 1, 1]).astype(kind)
    ((_, found),) = DeviceImages(photos(4)[0], labels, 4, transforms=[OneHot(2)])
    assert torch.equal(found, torch.eye(2)[[1, 0, 1, 1]])


def test_a_seed_is_any_whole_number():
    def epoch(seed):
        transforms = [RandomFlip(), OneHot(22), MixUp()]
        data = DeviceImages(*photos(), 10, transforms=transforms, sampler=Shuffled(seed))
        return torch.cat([images for images, _ in data])

    assert torch.equal(epoch(np.int64(5)), epoch(5))
    assert not torch.equal(epoch(-1), epoch(1))
    for seed in (None, 0.5, "1"):
        with pytest.raises(ValueError, match="`seed` must be a whole number"):
            Shuffled(seed)


def test_a_sampler_that_serves_another_number_by_now_makes_other_batches():
    sampler = Balanced(np.arange(22) % 2, per_epoch=10)
    data = DeviceImages(*photos(), 4, sampler=sampler)
    for served, sizes in ((10, [4, 4, 2]), (4, [4]), (13, [4, 4, 4, 1])):
        sampler.per_epoch = served
        assert len(data) == len(sizes)
        assert [len(labels) for _, labels in data] == sizes


def test_labels_may_be_a_column_of_a_data_frame():
    pandas = pytest.importorskip("pandas")
    column = pandas.Series([2, 0, 1], index=[7, 3, 5])  # as of rows that were drawn for training
    ((_, found),) = DeviceImages(photos(3)[0], column, 3)
    assert found.tolist() == [2, 0, 1]
    ((_, found),) = Batches(photos(3)[0], column)
    assert found.tolist() == [2, 0, 1]


def test_batches_may_hold_parts_of_columns():
    column = pytest.importorskip("pandas").Series(range(4))
    x = np.zeros((4, 2, 2, 3), "float32")
    parts = [(x[start : start + 2], column[start : start + 2]) for start in (0, 2)]
    assert labels_of(Batches(parts)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "changed",
    [
        lambda x: x[..., ::-1],
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),  # read-only
    ],
)
def test_batches_are_made_of_arrays_as_numpy_has_them(changed):
    x = changed(np.arange(48, dtype="float32").reshape(4, 2, 2, 3))
    labels = changed(np.arange(4, dtype="int64")[:, None])

    class Mirrored(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, number):
            return x[2 * number : 2 * number + 2], labels[2 * number : 2 * number + 2]

    for batches in (Batches(x, labels, 2), Batches(Mirrored())):
        found = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        np.testing.assert_array_equal(found[0].numpy(), x)
        np.testing.assert_array_equal(found[1].numpy(), labels)
    counts = [images for images, _ in Batches(x.astype("uint16"))]
    assert counts[0].dtype == torch.int32
    ((images, numbers),) = DeviceImages(x.astype("uint8")[..., ::-1], labels[:, 0], 4)
    np.testing.assert_array_equal((images * 255).cpu().round(), x[..., ::-1])
    assert numbers.tolist() == labels[:, 0].tolist()
