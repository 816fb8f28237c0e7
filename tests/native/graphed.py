"""Trainings that are made twice, with CUDA graphs and without, on the emulator or on a GPU."""

import contextlib
from unittest import mock

import keras_dawn
from keras_dawn import data
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
from keras import layers

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(70) % 10


def network(policy="float32", dropout=0.0, size=16, regularizer=None):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(dropout),
            layers.Dense(10, dtype="float32", kernel_regularizer=regularizer),
        ]
    )
    keras.config.set_dtype_policy(before)
    return model


def images(batch_size=8, transforms=()):
    """70 images, whose last batch of 8 is an odd one."""
    return data.DeviceImages(IMAGES, LABELS, batch_size, transforms=transforms)


def sparse():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Case:
    """One training.

    Args:
        optimizer: callable without arguments.
        make: callable without arguments, the model.
        source: callable without arguments, what `fit` takes as `x`.
        callbacks: callable from the model to a list of callbacks.
        loss: callable without arguments.
        **fit: other arguments of `fit`, or callables without arguments that make them.
    """

    def __init__(
        self, optimizer=keras_dawn.SGD, make=network, source=images, callbacks=None, loss=sparse,
        metrics=("accuracy",), **fit,
    ):  # fmt: skip
        self.optimizer, self.make, self.source = optimizer, make, source
        self.callbacks = callbacks or (lambda model: [])
        self.loss, self.metrics = loss, list(metrics)
        self.fit = {"epochs": 2, **fit}

    def train(self, graphs):
        """The trained model and its history."""
        keras.utils.set_random_seed(0)
        model = self.make()
        model.compile(self.optimizer(), self.loss(), metrics=self.metrics)
        keras_dawn.accelerate(model)
        fit = {name: part() if callable(part) else part for name, part in self.fit.items()}
        with contextlib.ExitStack() as stack:
            if not graphs:
                stack.enter_context(mock.patch("keras_dawn.native.cuda_graph.MOST_GRAPHS", 0))
            history = model.fit(
                self.source(), callbacks=self.callbacks(model), shuffle=False, verbose=0, **fit
            )
        return model, history.history


def everything(model):
    """All numbers of a model: weights, optimizer state, counters."""
    return [np.array(v) for v in (*model.variables, *model.optimizer.variables)]


def how(model):
    """What of the model's step is a graph."""
    return engine_of(model).steps.graphs.how()
