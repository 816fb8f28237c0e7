import keras_dawn
from keras_dawn import data
from keras_dawn.evaluation import Augmented, Views, evaluate_images, evaluate_tta, predict_tta
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


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_the_weights_of_the_data_count_as_they_do_for_keras(average, images, labels):
    model = build()
    accuracy = keras.metrics.SparseCategoricalAccuracy
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[accuracy("plain")], weighted_metrics=[accuracy("weighted")])
    weights = torch.linspace(0, 1, 30)
    points = torch.utils.data.TensorDataset(images, labels, weights)
    weighted = torch.utils.data.DataLoader(points, 7)
    expected = model.evaluate(weighted, return_dict=True, verbose=0)
    settings = {"views": ONE, "average": average}
    found = evaluate_tta(model, weighted, batch_size=7, **settings)
    assert found == pytest.approx(expected, rel=1e-5)
    pair = evaluate_tta(model, (images, labels), **settings)
    assert pair == evaluate_tta(model, images, labels, **settings)
    assert pair["loss"] != pytest.approx(found["loss"])


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
    rows = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    rows.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"got a batch of shape \(5, 6\)"):
        predict_tta(rows, np.zeros((5, 6), "float32"))
    assert predict_tta(rows, np.zeros((5, 6), "float32"), views=Views(flip=False)).shape == (5, 3)
    with pytest.raises(ValueError, match="needs labels"):
        evaluate_tta(model, images)
    with pytest.raises(ValueError, match="compiled"):
        predict_tta(keras.Model(model.inputs, model.outputs), images)


ONE = Views(flip=False)
BINARY = keras.losses.BinaryCrossentropy


def dense(units, loss, activation=None, scale=1.0):
    keras.utils.set_random_seed(0)
    parts = [keras.layers.Rescaling(scale), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((4, 4, 3)), *parts])
    model.add(keras.layers.Dense(units, activation=activation))
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize(
    "loss, activation",
    [(BINARY(from_logits=True), None), (BINARY(), "sigmoid"), ("binary_crossentropy", "sigmoid")],
)
def test_classes_with_a_probability_each_keep_it(units, loss, activation, average):
    model = dense(units, loss, activation)
    x = np.random.default_rng(0).random((8, 4, 4, 3)).astype("float32")
    y = np.random.default_rng(1).integers(0, 2, (8, units)).astype("float32")
    outputs = [model.predict(view, verbose=0) for view in (x, x[:, :, ::-1])]
    if activation is None:
        outputs = [1 / (1 + np.exp(-view)) for view in outputs]
    expected = (outputs[0] + outputs[1]) / 2
    if average == "logits":
        means = sum(np.log(view / (1 - view)) for view in outputs) / 2
        expected = 1 / (1 + np.exp(-means))
    found = predict_tta(model, x, average=average)
    if average == "logits":
        found = 1 / (1 + np.exp(-found))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_hand = -(y * np.log(expected) + (1 - y) * np.log(1 - expected)).mean()
    loss = evaluate_tta(model, x, y, average=average)["loss"]
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5)


@pytest.mark.parametrize("one_hot", [False, True])
def test_the_loss_of_a_confident_wrong_answer_is_finite_and_right(one_hot):
    kind = "Categorical" if one_hot else "SparseCategorical"
    loss = getattr(keras.losses, f"{kind}Crossentropy")(from_logits=True)
    model = dense(3, loss, scale=300.0)  # probabilities that are 0 in float32
    x, y = np.random.default_rng(0).random((8, 4, 4, 3)).astype("float32"), np.arange(8) % 3
    y = np.eye(3, dtype="float32")[y] if one_hot else y
    expected = model.evaluate(x, y, verbose=0)
    assert expected > 100
    np.testing.assert_allclose(evaluate_tta(model, x, y, views=ONE)["loss"], expected, rtol=1e-5)
    views = np.stack([model.predict(v, verbose=0) for v in (x, x[:, :, ::-1])]).astype("float64")
    views -= np.log(np.exp(views - views.max(-1, keepdims=True)).sum(-1, keepdims=True))
    views -= views.max(-1, keepdims=True)
    mean = np.logaddexp(*views) - np.log(2)
    picked = y.argmax(-1) if one_hot else y
    by_hand = -mean[np.arange(8), picked].mean()
    np.testing.assert_allclose(evaluate_tta(model, x, y)["loss"], by_hand, rtol=1e-4)


def test_a_metric_with_a_number_for_each_class_is_as_evaluate_gives_it(images, labels):
    model = build("softmax")
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy", keras.metrics.F1Score()])
    one_hot = np.eye(5, dtype="float32")[labels.cpu().numpy()]
    expected = model.evaluate(images, one_hot, return_dict=True, verbose=0)
    found = evaluate_tta(model, images, one_hot, views=ONE)
    assert list(found) == list(expected) and type(found["accuracy"]) is float
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


@pytest.mark.parametrize("around", [lambda loss: [loss], lambda loss: {"answer": loss}])
def test_a_loss_in_a_list_or_a_dict_says_what_the_outputs_are(around, images):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(5, name="answer")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    expected = predict_tta(model, images)
    model.compile("sgd", around(loss))
    np.testing.assert_array_equal(predict_tta(model, images), expected)


def test_the_device_is_asked_once_whether_outputs_are_probabilities(monkeypatch, images, labels):
    model, asked, ask = build("softmax", accelerated=True), [], torch.Tensor.__bool__

    def noted(tensor):
        asked.append(tensor)
        return ask(tensor)

    monkeypatch.setattr(torch.Tensor, "__bool__", noted)
    counts = []
    for size in (30, 5):
        batches = [(images[i : i + size], labels[i : i + size]) for i in range(0, 30, size)]
        for evaluate in (
            lambda given=batches: evaluate_images(model, given, flip=True),
            lambda given=size: predict_tta(model, images, batch_size=given),
        ):
            asked.clear()
            evaluate()
            counts.append(len(asked))
    assert counts[:2] == counts[2:]
