"""Spectrograms and pipelines of layers, against the Keras layers."""

from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.native.test_augmentation import compare, images
from tests.on_device import torch

MODES = ["log", "magnitude", "psd", "real", "imag", "angle", "stft"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("expand_dims", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_spectrogram(mode, expand_dims, data_format, true_float64):
    settings = {"padding": "same"} if mode in ("log", "stft") else {"frame_step": 5}
    layer = layers.STFTSpectrogram(
        mode, 8, expand_dims=expand_dims, data_format=data_format, **settings
    )
    shape = (41, 2) if data_format == "channels_last" else (2, 41)
    model = keras.Sequential([keras.Input(shape), layer])
    x = torch.randn(3, *shape, dtype=torch.float64)
    lowered = lower(model, False)
    assert lowered.fallbacks == []
    ours, theirs = lowered.module(x), model(x)
    assert ours.shape == theirs.shape and relative(ours, theirs) < 1e-10


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("settings", [{}, {"power_to_db": False, "mag_exp": 1.0}, {"ref_power": 3}])
def test_a_mel_spectrogram(settings, policy):
    keras.config.set_dtype_policy(policy)
    layer = layers.MelSpectrogram(64, 16, 48, num_mel_bins=7, sampling_rate=800, **settings)
    model = keras.Sequential([keras.Input((200,)), layer])
    x = torch.randn(3, 200)
    lowered = lower(model, False)
    assert lowered.fallbacks == []
    ours, theirs = lowered.module(x), model(x)
    assert ours.dtype == theirs.dtype and relative(ours, theirs) < 1e-5


def test_a_pipeline_is_its_layers():
    class Own(layers.RandomFlip):
        def transform_images(self, images, transformation, training=True):
            return images

    def pipeline(*more):
        inside = [
            layers.RandomFlip(seed=1),
            layers.CenterCrop(6, 5),
            layers.MaxPooling2D((1, 3), padding="same"),  # padded by the size that it has here
        ]
        inside += more
        return layers.Pipeline(inside)

    x = images("channels_last")
    model = keras.Sequential([keras.Input(tuple(x.shape[1:])), pipeline()])
    generator = model.layers[0].layers[0].generator
    expected = [model(x, training=mode) for mode in (True, True, False)]
    after = generator.state.numpy()
    generator.state.assign([1, 0])
    training, evaluating = lower(model, True), lower(model, False)
    assert training.fallbacks == [] and evaluating.fallbacks == [] and training.changes_state
    for lowered, theirs in zip((training, training, evaluating), expected, strict=True):
        assert relative(lowered.module(x), theirs) < 1e-6
    np.testing.assert_array_equal(generator.state.numpy(), after)
    other = keras.Sequential([keras.Input(tuple(x.shape[1:])), pipeline(Own(name="own"))])
    assert lower(other, True).fallbacks[0][1] == "own inside it: no rule"


def test_an_embedding_that_is_used_one_way():
    model = keras.Sequential([keras.Input((4,), dtype="int32"), layers.ReversibleEmbedding(7, 3)])
    x = torch.randint(0, 7, (2, 4), dtype=torch.int32)
    lowered = lower(model, False)
    assert lowered.fallbacks == [] and torch.equal(lowered.module(x), model(x))


def test_layers_that_change_one_image_are_left_to_keras():
    model = keras.Sequential([keras.Input((8, None)), layers.RandomFlip(seed=1)])
    assert lower(model, True).fallbacks[0][1] == "a single image"
    compare(layers.RandomFlip(seed=1), images("channels_last"), 1e-6)
