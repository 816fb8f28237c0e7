"""The trainings of the matrix: kinds of data, ways to train, optimizers, neighbours."""

import random
from pathlib import Path

import keras_dawn
from keras_dawn import OneCycle, Phase, ResumeTraining, TrainingPlan, data, fit_plan
from keras_dawn.callbacks import (
    ExponentialMovingAverage,
    Lookahead,
    StochasticWeightAveraging,
)
from keras_dawn.optimizers import Muon

import keras
import numpy as np
import torch
from keras import layers
from torch.utils.data import DataLoader, Dataset, IterableDataset

EPOCHS, STEPS, BATCH = 7, 5, 8
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
X, Y = PIXELS.astype("float32") / 255, RANDOM.integers(0, 3, 40)
VALIDATION = X[:16], Y[:16]


class Rows(Dataset):
    """Items with noise of every library's random numbers, and of the set's own."""

    def __init__(self, noisy=True):
        self.own, self.noisy = np.random.default_rng(3), noisy

    def __len__(self):
        return 40

    def __getitem__(self, place):
        x = torch.tensor(X[place])
        if self.noisy:
            x = x + torch.randn(()) * 0.1 + float(np.random.normal()) + random.random()
            x = x + float(self.own.normal())
        return x.float(), int(Y[place])


class Batches(keras.utils.PyDataset):
    """Shuffles itself after each pass."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.places = np.arange(40)

    def __len__(self):
        return STEPS

    def __getitem__(self, number):
        chosen = self.places[BATCH * number : BATCH * number + BATCH]
        return X[chosen], Y[chosen]

    def on_epoch_end(self):
        np.random.shuffle(self.places)


class Stream(IterableDataset):
    def __iter__(self):
        order = torch.randperm(40)
        for start in range(0, 40, BATCH):
            chosen = order[start : start + BATCH]
            yield torch.tensor(X)[chosen], torch.tensor(Y)[chosen]


def generator():
    for number in range(10**6):
        places = np.arange(BATCH * number, BATCH * number + BATCH) % 40
        yield X[places] + number % 7, Y[places]


def images():
    transforms = [data.PadCrop(1), data.RandomFlip()]
    sampler = data.Shuffled(2)
    return data.DeviceImages(PIXELS, Y, BATCH, transforms=transforms, sampler=sampler)


def own_generator():
    return DataLoader(Rows(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(3))


# Arguments of `fit`, by kind.
KINDS = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": BATCH},
    "arrays, steps": lambda: {"x": X, "y": Y, "batch_size": BATCH, "steps_per_epoch": 4},
    "device images": lambda: {"x": images(), "shuffle": False},
    "device images, steps": lambda: {"x": images(), "shuffle": False, "steps_per_epoch": 3},
    "loader": lambda: {"x": DataLoader(Rows(), BATCH, shuffle=True), "shuffle": False},
    "loader, own generator": lambda: {"x": own_generator(), "shuffle": False},
    "loader, workers": lambda: {
        "x": DataLoader(Rows(), BATCH, shuffle=True, num_workers=2), "shuffle": False
    },
    "PyDataset": lambda: {"x": Batches()},
    "PyDataset, workers": lambda: {"x": Batches(workers=2)},
    "iterable": lambda: {"x": DataLoader(Stream(), batch_size=None), "shuffle": False},
    "generator": lambda: {"x": generator(), "shuffle": False, "steps_per_epoch": STEPS},
    "plan": None,
    "PyDataset, workers, steps": lambda: {"x": Batches(workers=2), "steps_per_epoch": 3},
}  # fmt: skip
REFUSED = {"PyDataset, workers, steps": "its queue goes on over the ends of epochs"}
WAYS = ["plain", "accelerated", "own train_step"]
OPTIMIZERS = ["SGD", "Adam", "Muon", "float16"]
NEIGHBOURS = ["stock", "averages"]
PLAN = [
    Phase(2, 6, 8, (0.01, 0.05), momentum=None, weight_decay=None),
    Phase(3, 8, 5, (0.05, 0.02), momentum=None, weight_decay=None),
    Phase(2, 8, 10, (0.02, 0.0), momentum=None, weight_decay=None),
]


class OwnStep(keras.Model):
    def train_step(self, batch):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
        self.zero_grad()
        predicted = self(x, training=True)
        loss = self.compute_loss(x, y, predicted)
        self.optimizer.scale_loss(loss).backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return self.compute_metrics(x, y, predicted)


def small_model(way, optimizer):
    keras.config.set_dtype_policy("mixed_float16" if optimizer == "float16" else "float32")
    inputs = keras.Input((None, None, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(inputs)))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    made = OwnStep if way == "own train_step" else keras.Model
    model = made(inputs, layers.Dense(3, dtype="float32")(x))
    scaled = keras.optimizers.LossScaleOptimizer
    optimizers = {
        "SGD": lambda: keras_dawn.SGD(0.05, momentum=0.9),
        "Adam": lambda: keras.optimizers.Adam(0.01),
        "Muon": lambda: Muon(0.02),
        "float16": lambda: scaled(keras_dawn.SGD(0.05, momentum=0.9), dynamic_growth_steps=3),
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers[optimizer](), loss, metrics=["accuracy"])
    return model if way == "plain" else keras_dawn.accelerate(model)


def neighbours(which, kind, folder, seed):
    """Callbacks beside `ResumeTraining`, and the files that they write."""
    k = keras.callbacks
    if which == "stock":
        files = Path(folder) / "log.csv", Path(folder) / "best.weights.h5"
        found = [
            k.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
            k.ModelCheckpoint(files[1], "val_loss", save_best_only=True, save_weights_only=True),
            k.CSVLogger(files[0]),
        ]
        # A plan sets the rate itself.
        return found + ([] if kind == "plan" else [k.ReduceLROnPlateau(patience=1)]), files
    averages = [
        ExponentialMovingAverage(0.9),
        StochasticWeightAveraging(X, start=0.4),
        Lookahead(3),
    ]
    if kind == "iterable":  # its length is not known to Keras, which Lookahead has to know
        averages.pop()
    shape = [] if kind in ("plan", "iterable") else [OneCycle(0.05)]
    return [averages[seed % len(averages)], *shape], ()


def plan_data(phase):
    pixels = np.random.default_rng(phase.image_size).integers(
        0, 256, (40, phase.image_size, phase.image_size, 3), dtype=np.uint8
    )
    if phase.batch_size == 10:
        return pixels.astype("float32") / 255, Y
    return data.DeviceImages(pixels, Y, phase.batch_size, sampler=data.Shuffled())


def train(case, folder, seed, hurt):
    """One life of a training; returns what is compared.

    Args:
        case: `(kind, way, optimizer, neighbours)`.
        folder: where it writes.
        seed: int, of all random numbers; also which average is taken.
        hurt: callback that interrupts it.
    """
    kind, way, optimizer, which = case
    keras.utils.set_random_seed(seed)
    model = small_model(way, optimizer)
    others, files = neighbours(which, kind, folder, seed)
    resume = ResumeTraining(Path(folder) / "checkpoints", every_steps=2)
    common = {"callbacks": [*others, hurt, resume], "validation_data": VALIDATION, "verbose": 0}
    if kind == "plan":
        fit_plan(model, TrainingPlan(PLAN), plan_data, **common)
    else:
        model.fit(**KINDS[kind](), epochs=EPOCHS, **common)
    explained = keras_dawn.explain(model)
    return {
        "weights": [v.value.detach() for v in model.variables],
        "optimizer": [v.value.detach() for v in model.optimizer.variables],
        "history": {name: list(map(float, v)) for name, v in model.history.history.items()},
        "epochs": list(model.history.epoch),
        "random": torch.get_rng_state(),
        "files": [path.read_bytes() if path.exists() else None for path in files],
        "native": explained.native and explained.accelerated,
    }
