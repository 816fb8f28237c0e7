"""Files that cannot be read: left out and named, an error, or grey; never silently grey."""

import warnings

import keras_dawn
from keras_dawn.data import InOrder, Normalize
from keras_dawn.data.photos import (
    ImageFolder,
    RandomResizedCrop,
    ResizingImages,
    UnreadablePhotoError,
    ValidationImages,
)
from keras_dawn.data.photos.problems import UnreadablePhotosWarning
from keras_dawn.distributed.sharding import Share

import keras
import pytest
import torch
from pictures import jpeg, smooth


@pytest.fixture
def broken(photo_folder):
    """Training photos of which two cannot be read: one cut off, one no photo at all."""
    folder = photo_folder / "train" / "class0"
    data = jpeg(smooth(200, 200))
    (folder / "8.JPEG").write_bytes(data[: len(data) // 2])
    (folder / "9.JPEG").write_bytes(b"nothing")
    return photo_folder / "train"


def whole(source, **settings):
    settings = {"image_size": 32, "sampler": InOrder(), "drop_last": False, **settings}
    transforms = [RandomResizedCrop((1.0, 1.0)), Normalize()]
    return ResizingImages(source, 26, transforms=transforms, **settings)


def test_they_are_left_out_of_training_and_named_once(broken):
    data, source = whole(ImageFolder(broken)), ImageFolder(broken)
    with pytest.warns(UnreadablePhotosWarning, match=r"2 of 26.*8.JPEG.*truncated.*9.JPEG"):
        ((images, labels),) = data
    readable = source.without(data.problems)
    assert len(readable) == 24 and labels.tolist() == readable.labels.tolist()
    ((expected, _),) = whole(readable)
    assert torch.equal(images, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(next(iter(data))[1]) == 24


@pytest.mark.parametrize("unreadable", ["leave_out", "grey"])
def test_they_do_not_count_in_validation(unreadable, broken):
    source = ImageFolder(broken, unreadable=unreadable)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    data = ValidationImages(source, 7, image_size=16)
    with pytest.warns(UnreadablePhotosWarning, match="left out"):
        found = model.evaluate(data, verbose=0)
    good = ValidationImages(source.without(data.problems), 24, image_size=16)
    assert found == pytest.approx(model.evaluate(good, verbose=0), rel=1e-5)


def test_a_fit_goes_on_without_them(broken):
    model = keras_dawn.accelerate(network())
    with pytest.warns(UnreadablePhotosWarning) as said:
        data = ResizingImages(ImageFolder(broken), 13, image_size=16)
        model.fit(data, epochs=2, verbose=0, shuffle=False)
    (warning,) = (w for w in said if w.category is UnreadablePhotosWarning)
    assert warning.filename == __file__  # the line of the `fit`


def test_on_ranks_every_photo_weighs_the_same(broken):
    """By hand: photos 8 and 9 are those of ranks 0 and 1 of two, of ranks 2 and 0 of three."""
    for world_size, kept in ((2, [12, 12]), (3, [8, 9, 7])):
        for rank in range(world_size):
            data = whole(ImageFolder(broken))
            data.set_share(Share(rank, world_size), training=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnreadablePhotosWarning)
                ((images, _),) = data
            assert len(images) == kept[rank]
            assert data.rank_weight == pytest.approx(kept[rank] * world_size / 26)


def test_parts_of_a_validation_batch_weigh_what_they_have(broken):
    """By hand: of the second batch, 7 to 13, photo 9 is rank 0's and photo 8 is rank 1's."""
    for rank, expected in ((0, [8 / 7, 6 / 7, 8 / 7, 6 / 5]), (1, [6 / 7, 4 / 7, 6 / 7, 4 / 5])):
        data = ValidationImages(ImageFolder(broken), 7, image_size=16)
        data.set_share(Share(rank, 2), training=False)
        with pytest.warns(UnreadablePhotosWarning):
            weights = [data.rank_weight for _ in data]
        assert weights == pytest.approx(expected)


def test_they_are_an_error_where_the_source_says_so(broken):
    with pytest.raises(UnreadablePhotoError, match=r"class0/(8|9).JPEG"):
        list(whole(ImageFolder(broken, unreadable="error")))


def test_more_of_them_than_allowed_are_an_error(broken):
    with pytest.raises(UnreadablePhotoError, match=r"2 of 26 photos.*8.JPEG.*9.JPEG"):
        list(whole(ImageFolder(broken, most_unreadable=0.05)))


def test_they_are_grey_where_the_source_says_so(broken):
    data = whole(ImageFolder(broken, unreadable="grey"))
    with pytest.warns(UnreadablePhotosWarning, match="2 of 26.*grey"):
        ((images, labels),) = data
    assert len(labels) == 26
    assert torch.allclose(images[9], torch.tensor(128 / 255))


def test_a_batch_of_nothing_else_is_an_error_in_training_that_names_them(broken):
    data = ResizingImages(ImageFolder(broken), 1, image_size=16, sampler=InOrder())
    with pytest.raises(UnreadablePhotoError, match="None of the 1 photos.*8.JPEG"):
        list(data)


def network():
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.01), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("places", [[*range(8), *range(10, 26), 8, 9], [8, 9, *range(8)]])
def test_a_batch_of_nothing_else_is_left_out_of_validation(broken, places):
    """The last one, and the first one: Keras is given as many batches as it was told of."""
    source, model = ImageFolder(broken, most_unreadable=0.5), network()
    data = ValidationImages(source.subset(places), 2, image_size=16)
    with pytest.warns(UnreadablePhotosWarning, match="2 of .*8.JPEG.*9.JPEG") as said:
        found = model.evaluate(data, verbose=0)
    assert not [each for each in said if "ran out of data" in str(each.message)]
    (warning,) = (each for each in said if each.category is UnreadablePhotosWarning)
    assert warning.filename == __file__  # the line of the `evaluate`
    readable = [place for place in places if place not in (8, 9)]
    good = ValidationImages(source.subset(readable), 24, image_size=16)
    assert found == pytest.approx(model.evaluate(good, verbose=0), rel=1e-5)
    assert sum(len(labels) for _, labels in data) == len(readable)
    assert [places[place] for place in data.places] == readable


def test_a_validation_of_which_nothing_can_be_read_is_an_error(broken):
    source = ImageFolder(broken, most_unreadable=1.0).subset([8, 9])
    with pytest.raises(UnreadablePhotoError, match="None of the photos.*8.JPEG.*9.JPEG"):
        list(ValidationImages(source, 1, image_size=16))


def test_an_error_in_a_crop_names_the_file(broken):
    class Wrong(RandomResizedCrop):
        def box(self, *arguments):
            raise ZeroDivisionError

    data = ResizingImages(ImageFolder(broken), 4, image_size=16, transforms=[Wrong()])
    with pytest.raises(RuntimeError, match=r"class\d/\d.JPEG cannot be decoded"):
        list(data)
