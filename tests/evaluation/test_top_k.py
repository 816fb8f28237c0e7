import keras_dawn
from keras_dawn.data import DeviceImages, Normalize, OneHot, Shuffled
from keras_dawn.data.photos import ValidationImages
from keras_dawn.evaluation import (
    collect_answers,
    evaluate_images,
    evaluate_tta,
    predict_tta,
)

import keras
import numpy as np
import pytest
import simplejpeg

from tests.on_device import torch


class Photos:
    """Ten grey photos whose brightness is their class number."""

    class_names = tuple("0123456789")

    def __len__(self):
        return 10

    def __getitem__(self, index):
        pixels = np.full((32, 40, 3), 20 * index, np.uint8)
        return simplejpeg.encode_jpeg(pixels, 95), index

    def name(self, index):
        return str(index)


def brightness_model(order):
    """Class `order[n]` is the n-th nearest to the photo's brightness."""
    inputs = keras.Input((None, None, 3))
    level = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10)(level))
    kernel, bias = np.zeros((3, 10), "float32"), np.zeros(10, "float32")
    for column, place in enumerate(order):
        kernel[0, column], bias[column] = 2 * 20 * place, -((20 * place) ** 2)
    model.layers[-1].set_weights([kernel, bias])
    return model


def validation(*transforms):
    transforms = [Normalize(scale=255), *transforms]
    return ValidationImages(Photos(), 4, image_size=16, transforms=transforms)


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_top1_and_top5_are_counted_by_hand(accelerated, flip):
    order = [0, 1, 2, 3, 4, 5, 7, 6, 8, 9]  # classes 6 and 7 are taken for each other
    model = brightness_model(order)
    if accelerated:
        keras_dawn.accelerate(model)
    result = evaluate_images(model, validation(), flip=flip)
    assert result == {
        "top1": 0.8, "top5": 1.0, "images": 10, "image_size": 16, "rectangular": False,
        "flip": flip,
    }  # fmt: skip


@pytest.mark.parametrize("classes, first, among_five", [(8, 1, 5), (4, 1, 4)])
def test_top5_counts_five_places_and_no_sixth(classes, first, among_five):
    """The right class of the n-th image is in the n-th place."""
    inputs = keras.Input((1, 1, classes))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    labels = torch.arange(classes).flip(0)
    logits = torch.zeros(classes, classes)
    for place, label in enumerate(labels):
        others = [c for c in range(classes) if c != label]
        logits[place, [*others[:place], int(label), *others[place:]]] = -torch.arange(classes * 1.0)
    for given in (labels, labels[:, None]):  # class numbers may come as a column
        found = evaluate_images(model, [(logits[:, None, None], given)])
        assert found["top1"] == first / classes
        assert found["top5"] == among_five / classes


def test_weights_of_images_do_not_matter_and_the_datas_epoch_stays():
    pixels = np.repeat(20 * np.arange(10, dtype=np.uint8), 48).reshape(10, 4, 4, 3)
    weighed = Shuffled(weights=np.arange(10))
    data = DeviceImages(
        pixels, np.arange(10), 4, transforms=[Normalize(scale=255)], sampler=weighed
    )
    found = evaluate_images(brightness_model([1, 0, *range(2, 10)]), data)
    assert (found["top1"], found["images"], data.epoch) == (0.8, 10, 0)


def test_one_hot_labels_are_understood():
    model = brightness_model(range(10))
    assert evaluate_images(model, validation(OneHot(10)))["top1"] == 1.0


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_flips_average_the_probabilities_of_both_views(activation):
    inputs = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(6, activation=activation)(flat))
    if activation:
        model.compile(loss="sparse_categorical_crossentropy")
    x, y = 9 * torch.randn(128, 4, 4, 3), torch.randint(0, 6, (128,))
    with torch.no_grad():
        views = [model(v) if activation else torch.softmax(model(v), -1) for v in (x, x.flip(2))]
    mean = (views[0] + views[1]) / 2
    first, second = mean.topk(2).values.unbind(-1)
    clear = first - second > 1e-4  # two views that are certain of two classes end alike
    assert clear.sum() > 64
    x, y, mean = x[clear], y[clear], mean[clear]
    expected = float((mean.argmax(-1) == y).float().mean())
    assert evaluate_images(model, [(x, y)], flip=True)["top1"] == pytest.approx(expected)


def test_flips_keep_the_places_behind_a_confident_answer():
    """Of which the probabilities are 0 in float32: 1000, 500 and zeros as logits."""
    inputs = keras.Input((1, 1, 8))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    labels = torch.arange(1, 8)  # the class of the second place
    logits = 500 * torch.eye(8)[1:]
    logits[:, 0] = 1000
    found = evaluate_images(model, [(logits[:, None, None], labels)], flip=True)
    assert (found["top1"], found["top5"]) == (0, 1)


def test_nothing_to_evaluate_on_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        evaluate_images(brightness_model(range(10)), [])


class Batches(keras.utils.PyDataset):
    """Arrays of NumPy, with weights; labels in a column as Keras's CIFAR-10 has them."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index > 1:
            raise IndexError
        part = slice(4 * index, 4 * index + 4)
        return self.x[part], self.y[part, None], np.ones(4)


@pytest.mark.parametrize("flip", [False, True])
def test_labels_in_a_column_are_class_numbers(flip):
    model = brightness_model(range(10))
    x = np.arange(8, dtype="float32").reshape(8, 1, 1, 1) * 20 * np.ones((1, 4, 4, 3), "float32")
    found = evaluate_images(model, Batches(x, np.array([0, 1, 2, 3, 4, 5, 7, 6])), flip=flip)
    assert (found["top1"], found["top5"], found["images"]) == (0.75, 1.0, 8)


def test_one_output_is_not_counted_as_the_first_of_several_classes():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    with pytest.raises(ValueError, match="one output"):
        evaluate_images(model, [(np.ones((2, 4), "float32"), np.ones(2, int))])


def test_flips_mirror_images_of_channels_first_along_their_width():
    keras.config.set_image_data_format("channels_first")
    inputs = keras.Input((1, 2, 3))
    model = keras.Model(inputs, keras.layers.Reshape((6,))(inputs))
    # The middle of the upper row stays in its place, and so it is the likeliest in the mean.
    x, middle = torch.tensor([[[[5.0, 4.8, 0.0], [0.0, 0.0, 0.0]]]]), torch.tensor([1])
    assert evaluate_images(model, [(x, middle)])["top1"] == 0.0
    assert evaluate_images(model, [(x, middle)], flip=True)["top1"] == 1.0


def test_outputs_that_the_loss_says_nothing_of_have_to_be_probabilities():
    model = brightness_model(range(10))
    model.compile(loss=lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p, True))
    x, y = torch.full((2, 4, 4, 3), 60.0), torch.tensor([3, 3])
    assert evaluate_images(model, [(x, y)])["top1"] == 1.0
    for ask in (
        lambda: evaluate_images(model, [(x, y)], flip=True),
        lambda: predict_tta(model, x),
        lambda: evaluate_tta(model, x, y, average="logits"),
        lambda: collect_answers(model, x, y),
    ):
        with pytest.raises(ValueError, match="no probabilities"):
            ask()
