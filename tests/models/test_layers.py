"""The package's own layers against what they save or stand for."""

import keras_dawn
from keras_dawn.models.layers import PaddingForPooling2D

import keras
import numpy as np
import pytest
from keras import layers

from tests.on_device import torch


def pooled_convolution(shape, trimmed, data_format="channels_last"):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input(shape)
    if trimmed:
        x = PaddingForPooling2D(data_format=data_format)(x)
    padding = "valid" if trimmed else "same"
    x = layers.Conv2D(5, 3, padding=padding, data_format=data_format)(x)
    return keras.Model(inputs, layers.MaxPooling2D(2, data_format=data_format)(x))


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6)])
@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_trimmed_convolution_pools_to_the_same_values_and_gradients(size, native, data_format):
    last = data_format == "channels_last"
    shape, sizes = ((*size, 3), (None, None, 3)) if last else ((3, *size), (3, None, None))
    images = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    trained = []
    for trimmed in (False, True):
        model = pooled_convolution(sizes, trimmed, data_format)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if native and trimmed:
            keras_dawn.accelerate(model)
        answers = model.predict(images, verbose=0)
        model.train_on_batch(images, np.ones_like(answers))
        trained.append((answers, *(weight.numpy() for weight in model.weights)))
    for plain, ours in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)
    if native:
        assert not keras_dawn.explain(model).fallbacks


def test_a_trimmed_convolution_computes_only_what_is_pooled():
    model = pooled_convolution((15, 8, 3), trimmed=True)
    assert model.layers[1].output.shape == (None, 16, 10, 3)
    assert model.layers[2].output.shape == (None, 14, 8, 5)
    assert pooled_convolution((None, 8, 3), trimmed=True).layers[1].output.shape[1] is None


def test_padding_for_pooling_knows_channels_first_and_larger_kernels():
    images = torch.ones(2, 3, 7, 8)
    padded = PaddingForPooling2D(5, 3, "channels_first")(images)
    assert padded.shape == (2, 3, 7 + 4 - 1, 8 + 4 - 2)
    assert torch.equal(padded[:, :, 2:9, 2:10], images)
    assert float(padded.sum()) == images.numel()


def test_padding_for_pooling_survives_its_configuration():
    model = pooled_convolution((9, 9, 3), trimmed=True)
    again = keras.Model.from_config(model.get_config())
    assert again.layers[1].get_config() == model.layers[1].get_config()


@pytest.mark.parametrize(("kernel", "pool"), [(2, 1), (3, 3), (3, 0)])
def test_sizes_that_do_not_fit_are_named(kernel, pool):
    with pytest.raises(ValueError, match="`kernel_size` must be odd and `pool_size`"):
        PaddingForPooling2D(kernel, pool)
