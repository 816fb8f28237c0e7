"""The last layers of classifiers."""

from keras_dawn.models.layers import Scale

import keras
from keras import layers


def logits(x, classes, activation=None, name="predictions"):
    """A dense layer with torch.nn.Linear's initialisation, in at least float32.

    Args:
        x: `KerasTensor` `(batch, features)`.
        classes: int.
        activation: of the layer; `None` gives logits.
        name: str.
    """
    return layers.Dense(
        classes,
        activation=activation,
        # torch.nn.Linear's range, ±1/sqrt(fan_in)
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        dtype=logits_dtype(),
        name=name,
    )(x)


def scaled_logits(x, classes, scale):
    """The global maximum, a dense layer without bias, and a fixed scale (David Page's head).

    Args:
        x: `KerasTensor` of images.
        classes: int.
        scale: float, what the logits are multiplied by.
    """
    x = layers.GlobalMaxPooling2D(name="head_pool")(x)
    x = layers.Dense(
        classes,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        dtype=logits_dtype(),
        name="predictions",
    )(x)
    return Scale(scale, dtype=logits_dtype(), name="scale")(x)


def logits_dtype():
    """float32 under a half-precision policy, else the policy itself."""
    policy = keras.config.dtype_policy()
    # A cross-entropy of logits in half precision rounds away what the classes differ by.
    return "float32" if policy.compute_dtype in ("float16", "bfloat16") else policy
