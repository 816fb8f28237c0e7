"""Models of series, images and volumes after twenty steps, accelerated and plain."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers


def series():
    x = inputs = keras.Input((24, 5))
    x = layers.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="relu")(x)
    x = skip = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.SpatialDropout1D(0.2)(x)
    x = layers.PReLU("uniform", shared_axes=[1])(layers.AveragePooling1D(2, padding="same")(x))
    x = layers.GroupNormalization(3)(layers.SeparableConv1D(6, 3, strides=2, padding="same")(x))
    x = layers.Conv1DTranspose(6, 3, 2, padding="same")(layers.ZeroPadding1D(1)(x))
    x = layers.UpSampling1D(2)(layers.Cropping1D((3, 1))(x))
    x = layers.Concatenate()([x, layers.DepthwiseConv1D(3, padding="same")(skip)])
    x = layers.MaxPooling1D(3, 2)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def images(data_format="channels_last"):
    axis = -1 if data_format == "channels_last" else 1
    shape = (12, 10, 3) if data_format == "channels_last" else (3, 12, 10)
    common = {"data_format": data_format}
    x = inputs = keras.Input(shape)
    x = skip = layers.Conv2D(6, 3, padding="same", **common)(x)
    x = layers.GroupNormalization(2, axis=axis)(layers.MaxPooling2D(2, **common)(x))
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", **common)(x))
    x = layers.Conv2DTranspose(6, 3, 2, padding="same", **common)(x)
    x = layers.Concatenate(axis)([x, skip, layers.SpatialDropout2D(0.3, **common)(skip)])
    x = layers.UnitNormalization(axis=axis)(layers.Conv2D(4, 1, **common)(x))
    x = layers.UpSampling2D(2, interpolation="bilinear", **common)(x)
    x = layers.AdaptiveAveragePooling2D((3, 2), **common)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def volumes():
    x = inputs = keras.Input((6, 7, 8, 2))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv3D(4, 3, padding="same")(x)))
    x = skip = layers.AveragePooling3D(2, padding="same")(x)
    x = layers.Conv3DTranspose(4, 3, 2, padding="same", use_bias=False)(x)
    x = layers.SpatialDropout3D(0.2)(layers.MaxPooling3D(3, 2, padding="same")(x))
    x = layers.Add()([x, layers.ZeroPadding3D(1)(layers.Cropping3D(1)(skip))])
    x = layers.RMSNormalization()(layers.UpSampling3D((1, 2, 1))(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling3D()(x)))


def vectors():
    x = inputs = keras.Input((6, 5))
    x = layers.LayerNormalization(rms_scaling=True)(layers.Dense(8)(x))
    y = layers.GaussianNoise(0.1)(layers.PReLU("uniform")(x))
    z = layers.Dot(axes=(2, 2), normalize=True)([x, y])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(z)))


MODELS = {
    "series": series,
    "images": images,
    "images with channels first": lambda: images("channels_first"),
    "volumes": volumes,
    "vectors": vectors,
}


# In float64 all of them are trained at once; in float32 some.
AT_ONCE = [
    pytest.param(name, marks=() if name in ("series", "vectors") else pytest.mark.slow)
    for name in MODELS
]


def trained(make, native):
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "mse")
    if native:
        keras_dawn.accelerate(model)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, *model.input_shape[1:])), random.normal(size=(16, 3))
    before = model.predict(x, verbose=0)
    model.fit(x, y, batch_size=4, epochs=5, shuffle=False, verbose=0)
    if native:
        assert keras_dawn.explain(model).fallbacks == []
    return [before, model.predict(x, verbose=0), *(v.numpy() for v in model.variables)]


def assert_same(make, tolerance):
    for ours, theirs in zip(trained(make, True), trained(make, False), strict=True):
        scale = max(1.0, float(np.abs(theirs).max()))
        assert float(np.abs(ours - theirs).max()) <= tolerance * scale


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("name", AT_ONCE)
def test_twenty_steps_in_float32_equal_plain_keras(name):
    assert_same(MODELS[name], 1e-5)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("name", MODELS)
def test_twenty_steps_in_float64_equal_plain_keras(name, true_float64):
    assert_same(MODELS[name], 1e-10)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", [n for n in MODELS if n != "volumes"])
def test_half_precision_is_as_near_to_float32_as_plain_keras_is(name, policy):
    def outputs(policy, native):
        keras.config.set_dtype_policy(policy)
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        model.compile("sgd", "mse")
        if native:
            keras_dawn.accelerate(model)
        x = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:]))
        result = model.predict(x, verbose=0)
        if native:
            assert keras_dawn.explain(model).fallbacks == []
        return result

    exact, ours, theirs = outputs("float32", False), outputs(policy, True), outputs(policy, False)
    assert ours.dtype == theirs.dtype
    error = np.abs(ours.astype("float32") - exact).max()
    assert error <= 2 * np.abs(theirs.astype("float32") - exact).max() + 1e-3
