"""What the engine refuses, and what `explain` says of a model."""

import keras_dawn
from keras_dawn import SGD

import keras
import pytest
from keras import layers

from tests.native.test_accelerate import fit, network


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: network(run_eagerly=True), "run_eagerly"),
        (lambda: network(jit_compile=True), "jit_compile"),
        (
            lambda: keras.Sequential(
                [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, kernel_regularizer="l2")]
            ),
            "regularizer: use the optimizer's weight decay",
        ),
        (lambda: OwnStep([keras.Input((8, 8, 3)), layers.Flatten()]), "its own train_step"),
        (
            lambda: keras.Sequential([keras.Input((3,)), layers.Masking()]),
            "makes a mask",
        ),
    ],
)
def test_what_cannot_be_reproduced_is_refused_with_a_reason(make, reason):
    explanation = keras_dawn.explain(make())
    assert not explanation.native and reason in explanation.refusal
    assert reason in str(explanation)


def test_a_refused_model_trains_on_the_plain_path():
    def regularised():
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5, kernel_regularizer="l2")]
        )
        model.compile(SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    ours, plain = keras_dawn.accelerate(regularised()), regularised()
    assert fit(ours)["loss"] == fit(plain)["loss"]


class AddsLoss(layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return x


def test_a_loss_added_by_a_layer_keeps_the_plain_path():
    def model():
        keras.utils.set_random_seed(0)
        net = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5), AddsLoss()]
        )
        net.compile(SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return net

    ours, plain = keras_dawn.accelerate(model()), model()
    assert fit(ours)["loss"] == pytest.approx(fit(plain)["loss"], rel=1e-6)


def test_explain_counts_native_layers_and_names_fallbacks():
    model = network(metrics=["accuracy", keras.metrics.AUC(name="auc")], loss="mse")
    explanation = keras_dawn.explain(model)
    assert explanation.layers == {
        "Conv2D": 1, "BatchNormalization": 1, "ReLU": 1, "Flatten": 1, "Dense": 1
    }  # fmt: skip
    assert explanation.fallbacks == [] and explanation.loss is None
