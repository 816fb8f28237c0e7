"""Scenarios of models with Python of their own: a `call`, a `train_step`, several optimizers.

All in float64, with parts of unequal size: 21 images in batches of 8 are 4 + 4 and at last 3 + 2,
13 evaluated in batches of 4 are 2 + 2 and at last 1 + 0.
"""

import os
from pathlib import Path

import keras_dawn
from keras_dawn.distributed import synchronize_batch_normalization
from keras_dawn.foundation import model_state

import keras
import numpy as np
import torch
from behaviours import CountSteps
from keras import layers
from own_models import (
    Branches,
    Gan,
    OwnLoss,
    OwnStepNormalized,
    PassesByBatch,
    Penalty,
    SmallResNet,
    Subclassed,
    Tagger,
    TaggerByLoss,
    TwoHeads,
    TwoPasses,
    Vae,
    WithoutBackward,
)
from scenarios import in_float64, rank
from trainings import in_policy, message_of, numbers, trained

OWN = {}


def scenario(function):
    OWN[function.__name__] = lambda: in_float64(lambda: in_policy(function))
    return function


@scenario
def subclassed_resnet():
    model = SmallResNet()
    model(numbers(1, 6, 6, 2))
    synchronize_batch_normalization(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return trained(model, numbers(21, 6, 6, 2), np.arange(21) % 3)


@scenario
def own_steps_normalised_together():
    blocks = [layers.Dense(4), layers.BatchNormalization(), layers.Activation("tanh")]
    model = OwnStepNormalized([keras.Input((3,)), *blocks, layers.Dense(1)])
    synchronize_batch_normalization(model)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(21, 3), numbers(21, 1))


def tagger(kind):
    words = np.random.default_rng(2).integers(1, 20, (21, 6))
    lengths = np.where(np.arange(21) % 8 < 4, 6, 1)  # the first rank's are long
    words[np.arange(6) >= lengths[:, None]] = 0
    inputs = keras.Input((6,), dtype="int32")
    tags = layers.Dense(3)(layers.Embedding(20, 4, mask_zero=True)(inputs))
    model = kind(inputs, tags)
    if kind is Tagger:
        model.extra = [keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1)]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, metrics=["sparse_categorical_accuracy"])
    return trained(model, words, words % 3)


@scenario
def masked_losses_in_an_own_step():
    return tagger(Tagger)


@scenario
def masked_losses_in_an_own_loss():
    return tagger(TaggerByLoss)


def gan(**compiled):
    model = Gan()
    rate = 0.01 + 0.01 * rank()  # of rank 0 everywhere, once the training has begun
    optimizers = [keras.optimizers.Adam(rate), keras.optimizers.SGD(rate, momentum=0.5)]
    model.compile(*optimizers, **compiled)
    return trained(model, (numbers(21, 3), numbers(21, 2, seed=1)))


@scenario
def gan_with_two_optimizers():
    return gan()


@scenario
def gan_without_an_optimizer_of_the_models():
    return gan(optimizer=None)


@scenario
def vae_with_means():
    model = Vae()
    model(numbers(1, 5))
    model.compile(keras.optimizers.Adam(0.01))
    return trained(model, numbers(21, 5))


@scenario
def branches_that_ranks_take_differently():
    model = Branches()
    model.build((None, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x = numbers(21, 3)
    x[:, 0] = np.abs(x[:, 0]) * np.where(np.arange(21) % 2, -1, 1)
    return trained(model, x, numbers(21, 1))


@scenario
def gradients_of_two_passes():
    model = TwoPasses([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    result = trained(model, numbers(21, 3), numbers(21, 1))
    del result["history"]["loss"]  # nobody feeds it
    return result


@scenario
def a_loss_that_ranks_take_from_different_outputs():
    inputs = keras.Input((3,))
    x = layers.Dense(4, "tanh")(inputs)
    model = TwoHeads(inputs, [layers.Dense(1)(x), layers.Dense(1)(x)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    x = numbers(21, 3)
    x[:, 0] = np.abs(x[:, 0]) * np.where(np.arange(21) % 2, -1, 1)
    return trained(model, x, [numbers(21, 1)] * 2)


class Thawing(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.inside[0].trainable = epoch > 0


@scenario
def a_layer_that_is_thawed_in_between():
    model = Subclassed()
    model(numbers(1, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(24, 3), numbers(24, 1), callbacks=[Thawing()])


@scenario
def refused():
    """What would train each rank alone."""
    model = Subclassed()
    model(numbers(1, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    keras_dawn.accelerate(model)
    return message_of(lambda: model.train_on_batch(numbers(4, 3), numbers(4, 1)))


@scenario
def own_compute_loss():
    inputs = keras.Input((3,))
    model = OwnLoss(inputs, layers.Dense(1)(layers.Dense(4, "tanh")(inputs)))
    model.compile(keras.optimizers.SGD(0.05), metrics=["mae"])
    return trained(model, numbers(21, 3), numbers(21, 1))


@scenario
def added_loss_in_a_subclass():
    model = Subclassed()
    model(numbers(1, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(24, 3), numbers(24, 1))


@scenario
def added_loss_in_a_graph():
    inputs = keras.Input((3,))
    x = Penalty()(layers.Dense(4, "tanh")(inputs))
    model = keras.Model(inputs, layers.Dense(1, kernel_regularizer="l2")(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(24, 3), numbers(24, 1))


@scenario
def resumed_own_state():
    """Batch norm and dropout of a torch module, whose states differ between the ranks."""

    def once(name, cut=None):
        keras.utils.set_random_seed(100 + rank())
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        model = keras.Sequential(
            [
                keras.Input((3,)),
                layers.TorchModuleWrapper(module.double(), output_shape=(None, 4)),
                layers.Dropout(0.3),
                layers.GaussianNoise(0.1),
                layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.SGD(0.05), "mse")

        def stop(model):
            raise RuntimeError("cut off")

        folder = Path(os.environ["SAVE_TO"]) / f"own-{name}"
        resume = keras_dawn.ResumeTraining(folder, every_steps=2)
        try:
            result = trained(
                model, numbers(24, 3), numbers(24, 1), callbacks=[CountSteps(cut, stop), resume]
            )
        except RuntimeError:
            return None
        buffers = model_state.torch_buffers(model)
        return {**result, "weights": [*result["weights"], *[b.clone() for b in buffers]]}

    whole = once("whole")
    once("cut", cut=5)
    return {"whole": whole, "again": once("cut")}


def more_passes_on_one_rank():
    """Prints the message; the ranks are out of step then and cannot say goodbye."""
    keras_dawn.distribute()
    print(message_of(lambda: one_dense_layer(PassesByBatch)), flush=True)
    os._exit(0)


@scenario
def gradients_that_no_backward_computes():
    return message_of(lambda: one_dense_layer(WithoutBackward))


def one_dense_layer(kind):
    model = kind([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    trained(model, numbers(21, 3), numbers(21, 1))
