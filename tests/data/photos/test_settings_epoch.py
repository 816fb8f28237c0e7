"""Sizes and transforms follow the epochs of `fit`, also where passes over the data do not."""

import itertools

import keras_dawn
from keras_dawn import ResumeTraining, data, find_learning_rate
from keras_dawn.data.batches import Batches
from keras_dawn.data.photos import ImageFolder, ResizingImages

import keras
import numpy as np
import pytest
import torch

from tests.resume.test_resume import Cut

SIZES = {0: 8, 1: 12, 2: 16}


class Watch(keras.callbacks.Callback):
    """A transform, and a callback that notes of what size each batch was by epoch."""

    def __init__(self):
        super().__init__()
        self.made, self.sizes, self.sums = [], {}, []

    def __call__(self, images, random):
        self._latest = images
        self.made.append(images.shape[1])
        return images

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.sizes.setdefault(self._epoch, []).append(self._latest.shape[1])
        self.sums.append(float(self._latest.double().sum()))


def arrays(watch, _):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    transforms = [data.RandomFlip(), data.Resize(SIZES), watch]
    return data.DeviceImages(
        pixels, random.integers(0, 3, 32), 4, transforms=transforms, sampler=data.Shuffled()
    )


def photos(watch, folder):
    source = ImageFolder(folder / "train")
    return ResizingImages(source, 3, image_size=SIZES, transforms=[watch], threads=2)


def build(accelerated=True):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss)
    return keras_dawn.accelerate(model) if accelerated else model


def fit(made, place, folder=None, cut=None, epochs=4, fits=1):
    """A training; returns its model, its data and what was seen."""
    watch, model = Watch(), build()
    source = made(watch, place)
    callbacks = [watch, *([] if folder is None else [Cut(cut), ResumeTraining(folder)])]
    for _ in range(fits):
        try:
            model.fit(
                source, epochs=epochs, steps_per_epoch=4, shuffle=False, verbose=0,
                callbacks=callbacks,
            )  # fmt: skip
        except RuntimeError as error:
            assert "cut off" in str(error)
            break
    return model, source, watch


@pytest.mark.parametrize("made", [arrays, photos])
def test_epochs_shorter_than_the_data_have_their_own_sizes(made, photo_folder):
    _, source, watch = fit(made, photo_folder)
    assert len(source) == 8  # a pass goes on over two epochs
    assert watch.sizes == {0: [8] * 4, 1: [12] * 4, 2: [16] * 4, 3: [16] * 4}
    assert len(set(watch.sums)) == 16
    assert (source.epoch, source.settings_epoch) == (2, 3)
    source.set_epoch(0)
    assert next(iter(source))[0].shape[1] == 8  # nothing is left behind


def test_going_through_data_leaves_both_epochs_as_they_were():
    source = arrays(Watch(), None)
    source.set_epoch(1)
    source.settings_epoch = 2
    for images, _ in Batches(source):
        assert images.shape[1] == 16
    assert (source.epoch, source.settings_epoch) == (1, 2)


@pytest.mark.parametrize("made", [arrays, photos])
def test_a_model_that_is_only_asked_about_data_leaves_its_epoch(made, photo_folder):
    watch, model = Watch(), build()
    source = made(watch, photo_folder)
    first, second = (model.evaluate(source, verbose=0) for _ in range(2))
    model.predict(source, verbose=0)
    assert first == second and source.epoch == 0
    model.fit(source, epochs=2, verbose=0, callbacks=[watch])
    assert watch.sizes == {0: [8] * 8, 1: [12] * 8} and source.epoch == 2


@pytest.mark.filterwarnings("ignore:The images that are validated on are changed")
@pytest.mark.parametrize("made", [arrays, photos])
def test_validation_has_the_sizes_of_the_epoch_whatever_was_gone_through(made, photo_folder):
    watch, model = Watch(), build()
    held_out = made(watch, photo_folder)
    model.evaluate(held_out, verbose=0)
    model.fit(
        arrays(Watch(), None), initial_epoch=1, epochs=3, validation_data=held_out,
        validation_steps=2, verbose=0,
    )  # fmt: skip
    assert [size for size, _ in itertools.groupby(watch.made)] == [8, 12, 16]


def test_another_fit_counts_on():
    _, _, watch = fit(arrays, None, epochs=1, fits=3)
    assert watch.sizes == {0: [8] * 4 + [12] * 4 + [16] * 4}
    assert len(set(watch.sums)) == 12


@pytest.mark.parametrize("made, steps", [(arrays, None), (arrays, 4), (photos, None)])
def test_another_model_is_told_that_the_data_goes_on_at_a_later_size(made, steps, photo_folder):
    watch = Watch()
    source = made(watch, photo_folder)
    build().fit(source, epochs=2, steps_per_epoch=steps, verbose=0)
    model = build()
    with pytest.warns(UserWarning, match=r"up to epoch 2, and .*set_epoch\(0\)"):
        model.fit(source, epochs=1, steps_per_epoch=steps, verbose=0)
    assert watch.made[-1] == 16
    model.fit(source, epochs=1, verbose=0)  # which goes on
    source.set_epoch(0)
    build().fit(source, epochs=1, verbose=0)
    assert watch.made[-1] == 8


@pytest.mark.parametrize("made", [arrays, photos])
@pytest.mark.parametrize("cut", [6, 9, 11])
def test_it_is_resumed(made, cut, tmp_path, photo_folder):
    whole, _, seen = fit(made, photo_folder, tmp_path / "whole")
    fit(made, photo_folder, tmp_path / "cut", cut)
    again, _, rest = fit(made, photo_folder, tmp_path / "cut")
    assert rest.sums == seen.sums[-len(rest.sums) :]
    for a, b in zip(again.variables, whole.variables, strict=True):
        assert torch.equal(a.value, b.value)


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("made", [arrays, photos])
def test_a_range_test_has_the_size_of_the_datas_epoch(made, accelerated, photo_folder):
    watch, model = Watch(), build(accelerated)
    source = made(watch, photo_folder)
    curves = []
    for epoch, size in ((0, 8), (0, 8), (1, 12), (3, 16)):
        source.set_epoch(epoch)
        watch.made.clear()
        curves.append(find_learning_rate(model, source, end=0.1, steps=25, shuffle=False).losses)
        assert set(watch.made) == {size} and len(watch.made) >= 25
        assert (source.epoch, source.settings_epoch) == (epoch, None)
    assert curves[0] == curves[1] and curves[1] != curves[2]


def test_a_second_fit_that_is_resumed_counts_on_like_an_unbroken_one(tmp_path):
    def once(folder, cut=None):
        watch, model = Watch(), build()
        source, resume, hurt = arrays(watch, None), ResumeTraining(folder), Cut(cut)
        try:
            for _ in range(2):
                model.fit(source, epochs=3, shuffle=False, verbose=0,
                          callbacks=[watch, hurt, resume])  # fmt: skip
        except RuntimeError:
            assert cut
        return watch.sums

    whole = once(tmp_path / "whole")
    once(tmp_path / "cut", cut=3 * 8 + 12)  # in the second epoch of the second
    rest = once(tmp_path / "cut")
    assert len(rest) == 2 * 3 * 8 and rest == whole  # a checkpoint holds what was watched
