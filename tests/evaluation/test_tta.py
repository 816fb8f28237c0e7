import keras_dawn
from keras_dawn import data
from keras_dawn.evaluation import Augmented, Views, evaluate_tta, predict_tta
from keras_dawn.evaluation.views import fixed_views

import keras
import numpy as np
import pytest

from tests.on_device import torch


def build(activation=None, accelerated=False):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(5, activation=activation)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile("sgd", loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model) if accelerated else model


@pytest.fixture
def images():
    return torch.randn(30, 8, 8, 3)


@pytest.fixture
def labels():
    return torch.arange(30) % 5


def moved(images, down, right):
    """A view by hand: padded by reflection, and another place cut out."""
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2), (2, 2, 2, 2), mode="reflect")
    return padded[:, :, 2 + down : 10 + down, 2 + right : 10 + right].permute(0, 2, 3, 1)


def hand_loop(model, images, average):
    def score(view):
        with torch.no_grad():
            outputs = model(view)
        return torch.softmax(outputs, -1) if average == "probabilities" else outputs

    views = {(0, 0): 0.25, (2, 2): 0.125, (-2, -2): 0.125}
    total = 0
    for (down, right), weight in views.items():
        view = moved(images, down, right)
        total = total + weight * (score(view) + score(view.flip(2)))
    return total


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("accelerated", [False, True])
def test_flips_and_shifts_equal_a_hand_loop(accelerated, average, images, labels):
    model = build(accelerated=accelerated)
    expected = hand_loop(model, images, average)
    views = Views(shift=2)
    found = predict_tta(model, images, views=views, average=average, batch_size=7)
    np.testing.assert_allclose(found, expected.cpu(), atol=1e-6)
    logits = expected.log() if average == "probabilities" else expected
    result = evaluate_tta(model, images, labels, views=views, average=average, batch_size=7)
    assert result["loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels)), abs=1e-6
    )
    hits = (expected.argmax(-1) == labels).float().mean()
    assert result["accuracy"] == pytest.approx(float(hits), abs=1e-6)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_certain_images_keep_their_plain_prediction(activation, average, images):
    model = build(activation)
    plain = predict_tta(model, images, views=Views(flip=False), average=average)
    views = predict_tta(model, images, views=Views(shift=1), average=average)
    likely = np.exp(plain - plain.max(-1, keepdims=True)) if average == "logits" else plain
    likely = (likely / likely.sum(-1, keepdims=True)).max(-1)
    limit = float(np.sort(likely)[10])  # ten are below it
    certain = Views(shift=1, certain=limit)
    found = predict_tta(model, images, views=certain, average=average, batch_size=7)
    expected = np.where((likely < limit)[:, None], views, plain)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, plain) and not np.allclose(found, views)


def test_a_softmax_model_is_averaged_as_it_answers(images, labels):
    model = build("softmax")
    with torch.no_grad():
        expected = (model(images) + model(images.flip(2))) / 2
    np.testing.assert_allclose(predict_tta(model, images), expected.cpu(), atol=1e-6)
    geometric = torch.softmax(torch.as_tensor(predict_tta(model, images, average="logits")), -1)
    result = evaluate_tta(model, images, labels, average="logits")
    assert result["loss"] == pytest.approx(
        float(-geometric[torch.arange(30), labels].log().mean()), abs=1e-5
    )


def test_random_augmentations_are_blended_as_fastai_does():
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 5
    plain = data.DeviceImages(pixels, labels, 8)
    augmented = data.DeviceImages(pixels, labels, 8, transforms=[data.PadCrop(2)])
    augmented.set_epoch(3)
    model = build()
    mean = 0
    with torch.no_grad():
        for epoch in (3, 4, 5):
            batch, _ = augmented.batch(torch.arange(30), epoch)
            mean = mean + torch.softmax(model(batch), -1) / 3
        fixed = torch.softmax(model(plain.batch(torch.arange(30), 0)[0]), -1)
    unflipped, blend = Views(flip=False), Augmented(augmented, n=3, beta=0.4)
    found = predict_tta(model, plain, views=unflipped, augmented=blend)
    np.testing.assert_allclose(found, (0.4 * fixed + 0.6 * mean).cpu(), atol=1e-6)
    assert (plain.epoch, augmented.epoch) == (0, 3)
    blend = Augmented(augmented, n=3, beta=1.0)
    result = evaluate_tta(model, plain, views=unflipped, augmented=blend)
    assert result == pytest.approx(model.evaluate(plain, verbose=0, return_dict=True), abs=1e-6)


def test_fixed_views_weigh_one_together(images):
    for flip in (False, True):
        for shift in (0, 1):
            weights = [weight for weight, _ in fixed_views(images, flip, shift)]
            assert sum(weights) == 1.0
            assert len(weights) == (2 if flip else 1) * (3 if shift else 1)


def test_channels_first_images_are_mirrored_along_their_width(images):
    keras.config.set_image_data_format("channels_first")
    first = images.permute(0, 3, 1, 2)
    (_, plain), (_, mirrored) = fixed_views(first, True, 0)
    assert torch.equal(plain, first)
    assert torch.equal(mirrored, images.flip(2).permute(0, 3, 1, 2))


def test_bad_arguments_are_named(images, labels):
    model = build()
    four = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, int)
    shuffled = data.DeviceImages(*four, 2, sampler=data.Shuffled())
    short = data.DeviceImages(*four, 2)
    for make, message in (
        (lambda: Views(shift=-1), "`shift`"),
        (lambda: Views(certain=0), "`certain`"),
        (lambda: Augmented(short, n=0), "`n`"),
        (lambda: Augmented(short, beta=2), "`beta`"),
        (lambda: Augmented(images), "must be data with `set_epoch`"),
        (lambda: Augmented(shuffled), "The augmented data shuffles itself"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(ValueError, match="`average` must be one of probabilities, logits"):
        predict_tta(model, images, average="votes")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), shuffle=True)
    for data_in_no_order in (shuffled, loader):
        with pytest.raises(ValueError, match="`x` shuffles itself"):
            predict_tta(model, data_in_no_order)
    with pytest.raises(ValueError, match="the same 30 images, it has 4"):
        predict_tta(model, images, augmented=Augmented(short))
    with pytest.raises(ValueError, match="no images"):
        predict_tta(model, images[:0])
    with pytest.raises(ValueError, match="needs labels"):
        evaluate_tta(model, images)
    with pytest.raises(ValueError, match="compiled"):
        predict_tta(keras.Model(model.inputs, model.outputs), images)
