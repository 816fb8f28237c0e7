"""Batches that the graph of a step makes itself: the same, bit for bit, as those of the data."""

import functools
from unittest import mock

import keras_dawn
from keras_dawn import OneCycle, ResumeTraining, data
from keras_dawn.data.photos import ImageFolder, ResizingImages
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.native.accelerate import engine_of
from keras_dawn.plans import Phase

import keras
import numpy as np
import pytest
from PIL import Image

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu
from tests.native.graphed import IMAGES, LABELS, Case, everything, how, images, network
from tests.on_device import on_processor
from tests.resume.test_resume import Cut

pytestmark = on_processor

soft = functools.partial(keras.losses.CategoricalCrossentropy, from_logits=True)


def compared(case, eagerly_made):
    """Trains with graphs and without, which gives the same; how many batches Python made."""
    called = []

    def noted(self, *arguments, **options):
        called.append(1)
        return call(self, *arguments, **options)

    call = Pipeline.__call__
    with cuda_graphs_on_a_cpu() as graphs, mock.patch.object(Pipeline, "__call__", noted):
        eager, history = case.train(graphs=False)
        expected = len(called)
        graphed, again = case.train(graphs=True)
        assert how(graphed) == "the whole step" and graphs.replayed > 0
        assert len(called) - expected == eagerly_made(expected)
    assert history == again
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        np.testing.assert_array_equal(one, other)


def few(batches):
    return 1 + 3 + 1 + 3  # Keras's look, warming up, the capture; the odd one of each epoch


TRANSFORMS = {
    "none": [],
    "crops and flips": [data.PadCrop(4), data.RandomFlip(), data.Cutout(4)],
    "the record's": [data.PadCrop(2), data.AlternatingFlip(), data.OneHot(10)],
    "MixUp and CutMix": [data.OneHot(10), data.MixUp(0.2), data.CutMix(1.0)],
    "CutMix at a size": [data.OneHot(10), data.Resize(12), data.CutMix(1.0), data.Resize(16)],
    "RandAugment": [data.RandAugment(), data.RandomErasing()],
    "TrivialAugment": [data.TrivialAugment()],
    "colours and rotation": [data.ColorJitter(0.2, 0.2, 0.2), data.RandomRotation(3)],
}


@pytest.mark.parametrize("transforms", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_graph_makes_the_batches_that_the_data_makes(transforms):
    probabilities = any(isinstance(each, data.OneHot) for each in transforms)
    more = {"loss": soft, "metrics": ["categorical_accuracy"]} if probabilities else {}
    source = functools.partial(images, transforms=transforms)
    compared(Case(source=source, epochs=3, **more), few)


def test_orders_weights_and_images_served_twice():
    def shuffled():
        weights = np.linspace(0, 2, 70)
        return data.DeviceImages(IMAGES, LABELS, 8, sampler=data.Shuffled(3, weights=weights))

    def balanced():
        sampler = data.Balanced(LABELS, seed=1)
        return data.DeviceImages(IMAGES, LABELS, 8, transforms=[data.PadCrop(2)], sampler=sampler)

    compared(Case(source=shuffled, epochs=3), few)
    compared(Case(source=balanced, epochs=3), few)
    by_class = {"class_weight": {number: 1.0 + number for number in range(10)}}
    compared(Case(epochs=3, **by_class), few)


def test_settings_that_change_with_the_epoch_or_in_a_callback():
    by_epoch = {0: [data.PadCrop(2)], 2: [data.RandomFlip()]}
    source = functools.partial(images, transforms=by_epoch)
    compared(Case(source=source, epochs=4), lambda batches: 1 + 2 * (3 + 1) + 4)

    crop = data.PadCrop(1)

    def change(model):
        def to(epoch, logs):
            crop.padding = 1 + epoch // 2

        return [keras.callbacks.LambdaCallback(on_epoch_begin=to)]

    source = functools.partial(images, transforms=[crop])
    compared(Case(source=source, callbacks=change, epochs=4), lambda batches: 1 + 2 * (3 + 1) + 4)


def test_epochs_shorter_than_the_data():
    source = functools.partial(images, transforms=[data.Resize({0: 12, 2: 16}), data.RandomFlip()])
    make = functools.partial(network, size=None)
    compared(
        Case(make=make, source=source, epochs=9, steps_per_epoch=3),
        lambda batches: 1 + 2 * (3 + 1) + 3,
    )


def test_transforms_with_python_of_the_users_are_called_for_every_batch():
    class Own(data.RandomFlip):
        pass

    for transform in (lambda x, random: x.flip(1), Own()):
        source = functools.partial(images, transforms=[transform, data.PadCrop(2)])
        compared(Case(source=source), lambda batches: batches)


def test_a_sampler_that_is_told_of_batches_is_told():
    memory = data.LossMemory(70)

    def source():
        return data.DeviceImages(IMAGES, LABELS, 8, sampler=data.Hardest(memory, 0.5))

    compared(Case(source=source), lambda batches: batches)  # the memory is no metric here
    assert memory._indices is not None


def test_a_subclass_with_batches_of_its_own_makes_them():
    class Own(data.DeviceImages):
        def batch(self, order, epoch, number=0):
            x, y = super().batch(order, epoch, number)
            return x * 0.5, y

    compared(Case(source=lambda: Own(IMAGES, LABELS, 8)), lambda batches: batches)


@pytest.mark.filterwarnings("ignore:The images that are validated on are changed at random")
def test_who_else_goes_through_the_data_gets_tensors():
    source, seen = images(transforms=[data.PadCrop(2)]), []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            before = source.epoch
            seen.extend(batch[0].shape for batch in source)
            source.set_epoch(before)

    case = Case(source=lambda: source, callbacks=lambda model: [Looks()], epochs=3)
    case.fit["validation_data"] = source
    with cuda_graphs_on_a_cpu():
        eager, history = case.train(graphs=False)
        source.set_epoch(0)
        graphed, again = case.train(graphs=True)
        assert how(graphed) == "the whole step"
    assert history == again and len(seen) == 2 * 3 * 9
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cut", [5, 20])
def test_a_training_that_is_resumed_goes_on_with_the_same_batches(tmp_path, cut):
    source = functools.partial(images, transforms=[data.PadCrop(2), data.RandomFlip()])

    def train(folder, *others):
        def callbacks(model):
            return [OneCycle(0.05), *others, ResumeTraining(folder, every_steps=1)]

        return Case(source=source, callbacks=callbacks, epochs=3).train(graphs=True)

    with cuda_graphs_on_a_cpu():
        whole, history = train(tmp_path / "whole")
        with pytest.raises(RuntimeError, match="cut off"):
            train(tmp_path / "cut", Cut(cut))
        resumed, again = train(tmp_path / "cut")
        assert how(resumed) == "the whole step"
    assert {key: values[-1] for key, values in history.items()} == {
        key: values[-1] for key, values in again.items()
    }
    for one, other in zip(everything(whole), everything(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_photos_are_transformed_by_the_graph(tmp_path):
    for number in range(24):
        path = tmp_path / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(IMAGES[number]).resize((40, 30)).save(path)

    def photos():
        return ResizingImages(
            ImageFolder(tmp_path), 4, image_size={0: 12, 2: 16}, threads=1,
            transforms=[data.RandomFlip(), data.ColorJitter(0.2, 0.2, 0.2)],
        )  # fmt: skip

    make = functools.partial(network, size=None)
    compared(Case(make=make, source=photos, epochs=4), lambda batches: 1 + 2 * (3 + 1))


def test_a_plan_s_phases_each_have_their_graph():
    plan = [Phase(2, 12, 8, 0.05), Phase(2, 16, 8, 0.01)]
    found = []
    for most in (0, 8):
        keras.utils.set_random_seed(0)
        model = network(size=None)
        model.compile(keras_dawn.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(True))
        keras_dawn.accelerate(model)

        def make(phase):
            return images(phase.batch_size, [data.Resize(phase.image_size), data.PadCrop(2)])

        with (
            cuda_graphs_on_a_cpu() as graphs,
            mock.patch("keras_dawn.native.cuda_graph.MOST_GRAPHS", most),
        ):
            keras_dawn.fit_plan(model, plan, make, verbose=0)
            assert graphs.made == (2 if most else 0)
        found.append(everything(model))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_transforms_that_no_graph_can_record_leave_the_step_one(monkeypatch):
    def reads(self, images, random):
        assert float(images.sum()) >= 0
        return images

    monkeypatch.setattr(data.PadCrop, "__call__", reads)
    case = Case(source=functools.partial(images, transforms=[data.PadCrop(2)]))
    with cuda_graphs_on_a_cpu() as graphs:
        eager, history = case.train(graphs=False)
        with pytest.warns(UserWarning, match="transforms of the data.*same results"):
            graphed, again = case.train(graphs=True)
        assert how(graphed) == "the whole step" and graphs.replayed > 3
        assert not engine_of(graphed).steps.graphs.whole._makes_batches
    assert history == again
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        np.testing.assert_array_equal(one, other)


def weights(source):
    source.sampler.weights = source.sampler.weights.flip(0).contiguous()


def pixels(source):
    source.images = source.images.flip(0).contiguous()


def seed(source):
    source.sampler.seed += 2


def normalize(source):
    source.transforms.of(data.Normalize)[0].mean = (0.1, 0.2, 0.3)


@pytest.mark.parametrize("change", [weights, pixels, seed, normalize])
def test_a_batch_is_made_of_what_the_data_was_when_it_was_fetched(change):
    def train(graphs, unmade=data.DeviceImages.unmade):
        source = data.DeviceImages(
            IMAGES, LABELS, 8, transforms=[data.PadCrop(2), data.Normalize(0.5, 0.2)],
            sampler=data.Shuffled(3, weights=np.linspace(0.5, 2, 70)),
        )  # fmt: skip

        def at(batch, logs):
            if batch == 5:
                change(source)

        def callbacks(model):
            return [keras.callbacks.LambdaCallback(on_train_batch_begin=at)]

        with mock.patch.object(data.DeviceImages, "unmade", unmade):
            return Case(source=lambda: source, callbacks=callbacks, epochs=3).train(graphs)

    with cuda_graphs_on_a_cpu():
        eager, history = train(False, lambda self, wanted: iter(self))  # as they are fetched
        graphed, again = train(True)
        assert how(graphed) == "the whole step"
    assert history == again
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        np.testing.assert_array_equal(one, other)
