"""The convolutional models of keras.applications: no fallback, the same numbers."""

from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest

from tests.native.conftest import relative
from tests.on_device import torch

FAST = ["MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50"]
SLOW = [
    "ResNet50V2", "ResNet101", "DenseNet121", "DenseNet169", "MobileNetV3Large",
    "EfficientNetB1", "EfficientNetV2B0", "EfficientNetV2B3", "EfficientNetV2S", "VGG16",
    "VGG19", "Xception", "InceptionV3", "InceptionResNetV2", "ConvNeXtTiny", "ConvNeXtSmall",
]  # fmt: skip
ALL = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def build(name):
    size = 75 if name.startswith(("Inception", "Xception")) else 64
    small = {"alpha": 0.35} if name == "MobileNetV2" else {}
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None, **small
    )
    for layer in model._flatten_layers():
        # random masks cannot be the same; everything else must be
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        if hasattr(layer, "drop_path_rate"):
            layer.drop_path_rate = 0.0
    scale = 255.0 if name.startswith(("Efficient", "MobileNetV3", "ConvNeXt")) else 1.0
    images = np.random.default_rng(0).uniform(0, scale, (4, size, size, 3))
    return model, torch.tensor(images, dtype=getattr(torch, keras.config.floatx()))


@pytest.mark.parametrize("name", ALL)
def test_evaluation_in_float32(name):
    model, x = build(name)
    lowered = lower(model, training=False)
    assert lowered.fallbacks == []
    with torch.no_grad():
        assert relative(lowered.module(x), model(x, training=False)) < 1e-4


@pytest.mark.parametrize("name", ["MobileNetV3Small", *(
    pytest.param(name, marks=pytest.mark.slow) for name in [*FAST, *SLOW])])  # fmt: skip
def test_training_outputs_and_every_gradient_in_float64(name, true_float64, gradients_of):
    model, x = build(name)
    (outputs, ours), (expected, theirs), lowered = gradients_of(model, x)
    assert lowered.fallbacks == []
    assert relative(outputs[0], expected[0]) < 1e-8
    assert ours.keys() == theirs.keys() == {v.path for v in model.trainable_variables}
    scale = max(float(g.abs().max()) for g in theirs.values())
    for path, gradient in ours.items():
        assert float((gradient - theirs[path]).abs().max()) < 1e-8 * scale
