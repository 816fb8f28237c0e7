"""A training in true float64 whose number of ranks changes, for tests: KIND FOLDER OUT CUT."""

import keras_dawn
from keras_dawn import Phase, ResumeTraining, TrainingPlan, data, fit_plan
from keras_dawn.callbacks import ExponentialMovingAverage, Lookahead
from keras_dawn.distributed import synchronize_batch_normalization

import keras
import numpy as np
import torch
from keras import layers
from scenarios import in_float64
from torch.utils.data import DataLoader, DistributedSampler

from tests.resume.test_resume import Cut

EPOCHS, IMAGES, BATCH = 5, 70, 20  # four steps an epoch, shared out unevenly among 8
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 3, IMAGES)


class Own(keras.Model):
    """Feeds a mean with one number a batch, from Python of its own."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.mean = keras.metrics.Mean("own")

    def train_step(self, batch):
        x, y = batch
        loss = self.compute_loss(x, y, self(x, training=True))
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([w.value.grad for w in weights], weights)
        self.mean.update_state(loss)
        return self.get_metrics_result()


def small_model(kind):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Activation("tanh")(x))
    made = Own if kind == "own train_step" else keras.Model
    model = made(inputs, layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # in float64
    model.compile(keras_dawn.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model)


def images():
    transforms = [data.PadCrop(1), data.RandomFlip()]
    return data.DeviceImages(PIXELS, LABELS, BATCH, transforms=transforms, sampler=data.Shuffled())


def loader(ranks, shuffle=True):
    """A user's own, with the global batch kept."""
    rows = [(torch.tensor(x) / 255, y) for x, y in zip(PIXELS[:64], LABELS, strict=False)]
    sampler = DistributedSampler(rows, ranks.world_size, ranks.rank, shuffle)
    return DataLoader(rows, 16 // ranks.world_size, sampler=sampler)


def validation(kind, ranks):
    """Data to validate on, of another sort for each kind."""
    arrays = PIXELS.astype("float32") / 255, LABELS
    sorts = {
        "images": lambda: arrays,
        "arrays": lambda: arrays,
        "loader": lambda: loader(ranks, shuffle=False),
        "plan": lambda: lambda phase: arrays,
        "own train_step": images,
    }
    return sorts[kind]()


def train(kind, folder, cut, ranks, synchronize=True):
    keras.utils.set_random_seed(1 + ranks.rank)
    model = small_model(kind)
    if synchronize:
        synchronize_batch_normalization(model)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    average = Lookahead(3) if kind == "images" else ExponentialMovingAverage(0.9)
    resume = ResumeTraining(folder, every_steps=1)
    callbacks = [average, stop, Cut(cut), resume]
    settings = {"validation_data": validation(kind, ranks), "callbacks": callbacks, "verbose": 0}
    arrays = PIXELS.astype("float32") / 255, LABELS
    if kind == "plan":
        phases = [
            Phase(2, 8, 20, 0.05, weight_decay=None),
            Phase(3, 8, 14, 0.02, weight_decay=None),
        ]
        fit_plan(model, TrainingPlan(phases), arrays, **settings)
    elif kind == "arrays":
        model.fit(*arrays, batch_size=BATCH, epochs=EPOCHS, **settings)
    else:
        x = loader(ranks) if kind == "loader" else images()
        model.fit(x, epochs=EPOCHS, shuffle=False, **settings)
    return {
        "weights": [v.value.detach() for v in model.variables],
        "optimizer": [v.value.detach() for v in model.optimizer.variables],
        "history": model.history.history,
    }


def main(kind, folder, out, cut=None, synchronize=True):
    ranks = keras_dawn.distribute()
    keras.config.set_dtype_policy("float64")
    result = in_float64(lambda: train(kind, folder, cut, ranks, synchronize))
    torch.save(result, f"{out}-{ranks.rank}")
