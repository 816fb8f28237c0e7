import keras_dawn
from keras_dawn import data
from keras_dawn.evaluation.answers import Answers, collect_answers

import keras
import numpy as np
import pytest


def build(activation, accelerated):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation=activation)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile("sgd", loss)
    return keras_dawn.accelerate(model) if accelerated else model


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_losses_and_predictions_are_keras_own(activation, accelerated):
    model = build(activation, accelerated)
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), np.arange(20) % 3
    images = data.DeviceImages(pixels, labels, 6, transforms=[data.Normalize(0.5, 0.3)])
    answers = collect_answers(model, images)
    assert images.epoch == 0
    assert answers.losses.mean() == pytest.approx(model.evaluate(images, verbose=0), abs=1e-5)
    assert np.array_equal(answers.predicted, model.predict(images, verbose=0).argmax(-1))
    again = collect_answers(model, answers.images, labels, keep_images=False)
    np.testing.assert_allclose(again.probabilities, answers.probabilities, atol=1e-6)
    assert again.images is None
    soft = collect_answers(
        model,
        data.DeviceImages(pixels, labels, 6, transforms=[data.Normalize(0.5, 0.3), data.OneHot(3)]),
    )
    assert np.array_equal(soft.labels, labels)


def test_confusions_by_hand():
    chosen = np.array([0, 1, 1, 2, 0, 0, 2])
    answers = Answers(np.eye(3, dtype="float32")[chosen], np.array([0, 1, 2, 2, 1, 1, 0]))
    assert answers.confusion().tolist() == [[1, 0, 1], [2, 1, 0], [0, 1, 1]]
    assert answers.most_confused() == [(1, 0, 2), (0, 2, 1), (2, 1, 1)]
    assert answers.most_confused(at_least=2) == [(1, 0, 2)]
    assert answers.worst(2).tolist() == [2, 4]


def test_bad_input_is_named():
    model = build(None, False)
    x = np.zeros((2, 8, 8, 3), "float32")
    with pytest.raises(ValueError, match="need labels"):
        collect_answers(model, x)
    with pytest.raises(ValueError, match="no images"):
        collect_answers(model, x[:0], np.zeros(0, int))
    with pytest.raises(ValueError, match="compiled"):
        collect_answers(keras.Model(model.inputs, model.outputs), x, np.zeros(2, int))


@pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
def test_labels_of_no_class_are_named(labels):
    x = np.zeros((3, 8, 8, 3), "float32")
    with pytest.raises(
        ValueError, match=rf"classes 0 to 2, .* from {min(labels)} to {max(labels)}"
    ):
        collect_answers(build(None, False), x, np.array(labels))


def test_one_output_that_is_no_probability_by_its_loss_is_named():
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    x, labels = np.zeros((2, 8, 8, 3), "float32"), np.array([0, 1])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="BinaryCrossentropy"):
        collect_answers(model, x, labels)
    model.compile("sgd", ["binary_crossentropy"])
    assert collect_answers(model, x, labels).probabilities.tolist() == [[0.5, 0.5]] * 2


def test_an_answer_that_is_not_a_number_is_the_worst():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]], "float32")
    assert Answers(probabilities, np.array([0, 0, 1])).worst(2).tolist() == [2, 1]
