"""Losses of one's own that call networks which the model's own call does not use."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops


def network(kind):
    shape = {"convolution": (8, 8, 3), "lstm": (6, 4), "dense": (5,)}[kind]
    inner = {
        "convolution": lambda: [layers.Conv2D(8, 3, 2), layers.Flatten()],
        "lstm": lambda: [layers.LSTM(4)],
        "dense": lambda: [layers.Dense(7)],
    }[kind]()
    return keras.Sequential([keras.Input(shape), *inner, layers.Dense(3)])


class Distiller(keras.Model):
    """keras.io's: a student learns from a teacher, which here learns, too."""

    def __init__(self, kind):
        super().__init__()
        self.student, self.teacher = network(kind), network(kind)

    def call(self, x):
        return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        taught = self.teacher(x)
        return ops.mean(ops.square(y_pred - taught)) + ops.mean(ops.square(taught - 1))


class Taught(keras.losses.Loss):
    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def call(self, y_true, y_pred):
        return ops.mean(ops.square(self.teacher(y_true) - y_pred), -1)


def with_a_loss(kind):
    model = Distiller(kind)
    own = type("Own", (keras.Model,), {"call": Distiller.call})()
    own.student, own.teacher = model.student, model.teacher
    return own


@pytest.mark.parametrize("kind", ["convolution", "lstm", "dense"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("by_loss", [False, True])
def test_train_as_in_plain_keras_from_the_first_step_on(kind, optimizer, by_loss):
    def history(accelerated):
        keras.utils.set_random_seed(0)
        model = with_a_loss(kind) if by_loss else Distiller(kind)
        x = np.random.default_rng(0).normal(size=(64, *model.student.input_shape[1:]))
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9) if optimizer == "momentum" else "adam",
            Taught(model.teacher) if by_loss else None,
        )
        if accelerated:
            keras_dawn.accelerate(model)
        y = x if by_loss else x.reshape(64, -1)[:, :1]
        fitted = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
        return [*fitted.history["loss"], *(w.sum() for w in model.get_weights())]

    np.testing.assert_allclose(history(True), history(False), rtol=1e-4, atol=1e-4)
