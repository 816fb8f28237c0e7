"""A layer that Python of the user's calls shares memory with its input where Keras's does."""

from keras_dawn.foundation.keras_layers import takes
from keras_dawn.native.steps.parts import EMPTY, Part

import keras
import pytest
import torch
from keras import layers

IMAGES, SERIES, VECTORS = (2, 4, 4, 3), (2, 4, 3), (2, 4)

CALLS = {
    "no padding of series": (lambda: layers.ZeroPadding1D(0), SERIES),
    "no padding": (lambda: layers.ZeroPadding2D(0), IMAGES),
    "padding": (lambda: layers.ZeroPadding2D(1), IMAGES),
    "nothing cropped": (lambda: layers.Cropping2D(0), IMAGES),
    "enlarged by one": (lambda: layers.UpSampling2D(1), IMAGES),
    "enlarged smoothly by one": (lambda: layers.UpSampling2D(1, interpolation="bilinear"), IMAGES),
    "volumes enlarged by one": (lambda: layers.UpSampling3D(1), (2, 3, 4, 4, 3)),
    "series enlarged by one": (lambda: layers.UpSampling1D(1), SERIES),
    "resized to their size": (lambda: layers.Resizing(4, 4), IMAGES),
    "cropped to their ratio": (lambda: layers.Resizing(4, 4, crop_to_aspect_ratio=True), IMAGES),
    "cut to their size": (lambda: layers.CenterCrop(4, 4), IMAGES),
    "cut anywhere": (lambda: layers.RandomCrop(3, 3), IMAGES),
    "cut anywhere at their size": (lambda: layers.RandomCrop(4, 4), IMAGES),
    "linear": (lambda: layers.Activation("linear"), VECTORS),
    "the identity": (layers.Identity, VECTORS),
    "nothing dropped": (lambda: layers.Dropout(0.0), VECTORS),
    "no noise": (lambda: layers.GaussianNoise(0.0), VECTORS),
    "flattened": (layers.Flatten, IMAGES),
    "in the same shape": (lambda: layers.Reshape((4, 3)), SERIES),
    "in another shape": (lambda: layers.Reshape((-1, 2)), SERIES),
    "in the same order": (lambda: layers.Permute((1, 2)), SERIES),
    "repeated once": (lambda: layers.RepeatVector(1), VECTORS),
    "multiplied by one": (lambda: layers.Rescaling(1.0), IMAGES),
    "windows of one": (lambda: layers.MaxPooling2D(1), IMAGES),
    "means of one": (lambda: layers.AveragePooling2D(1), IMAGES),
    "a step's identity": (lambda: layers.TimeDistributed(layers.Identity()), SERIES),
    "a step in another shape": (lambda: layers.TimeDistributed(layers.Reshape((3, 1))), SERIES),
    "a step flattened": (lambda: layers.TimeDistributed(layers.Flatten()), IMAGES),
    "a step by weights": (lambda: layers.TimeDistributed(layers.Dense(3)), SERIES),
}


def _is_shared(x, y):
    return x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


@pytest.mark.parametrize("order", ["dense", "transposed"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_memory_is_shared_where_keras_shares_it(name, training, order):
    make, shape = CALLS[name]
    keras.utils.set_random_seed(0)
    x = torch.rand(*reversed(shape)).permute(*reversed(range(len(shape))))
    x = x.contiguous() if order == "dense" else x
    layer = make()
    mode = {"training": training} if takes(layer, "training") else {}
    layer(x, **mode)
    keras.utils.set_random_seed(1)
    expected = layer(x, **mode)
    keras.utils.set_random_seed(1)
    found = Part(layer).compute((x,), mode)
    if found is EMPTY:
        pytest.skip("it is called as it is")
    assert _is_shared(found, x) == _is_shared(expected, x)
    assert found.shape == expected.shape
    if not name.startswith("cut anywhere"):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_an_output_is_another_tensor_than_the_state_where_it_is_in_keras(kind):
    x = torch.rand(SERIES)
    layer = kind(3, return_state=True)
    expected, expected_state, *_ = layer(x)
    output, state, *_ = Part(layer).compute((x,), {})
    assert _is_shared(output, state) == _is_shared(expected, expected_state)
