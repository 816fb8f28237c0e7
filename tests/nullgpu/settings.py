"""The settings whose steps are counted on a null GPU: networks, optimizers, data, callbacks.

Each stands alone, not in all combinations: `SETTINGS` has, by name, functions that make the model,
the data for so many steps, and callbacks.
"""

import importlib
import tempfile
from pathlib import Path
from types import SimpleNamespace

import keras_dawn
from keras_dawn import callbacks, data, optimizers
from keras_dawn.data.photos import ImageFolder, ResizingImages

import keras
import numpy as np
import torch
from keras import layers
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

BATCH, MOST_STEPS = 8, 24
SIDE = 16


def sgd():
    return keras_dawn.SGD(0.01, momentum=0.9, weight_decay=1e-4)


def wide(policy="mixed_bfloat16", optimizer=sgd, metrics=("accuracy",), loss=None, scaled=True):
    """A small wide residual network; `mixed_float16` with loss scaling."""
    return compiled(
        lambda: keras_dawn.models.WideResNet(10, 1, input_shape=(SIDE, SIDE, 3)),
        *(policy, optimizer, metrics, loss, scaled),
    )


def compiled(network, policy, optimizer=sgd, metrics=("accuracy",), loss=None, scaled=True):
    def make():
        keras.config.set_dtype_policy(policy)
        model = network()
        keras.config.set_dtype_policy("float32")
        chosen = optimizer()
        if policy == "mixed_float16" and scaled:
            chosen = keras.optimizers.LossScaleOptimizer(chosen, initial_scale=512.0)
        made = [metric() if callable(metric) else metric for metric in metrics]
        model.compile(
            chosen,
            loss() if loss else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=made,
        )
        return model

    return make


def images(steps, transforms=(), side=SIDE, **options):
    pixels = np.zeros((steps * BATCH, side, side, 3), np.uint8)
    labels = np.arange(steps * BATCH) % 10
    return data.DeviceImages(pixels, labels, BATCH, transforms=list(transforms), **options)


def arrays(steps):
    return np.zeros((steps * BATCH, SIDE, SIDE, 3), "float32"), np.zeros(steps * BATCH, "int64")


def loader(steps, pinned=True):
    x, y = map(torch.as_tensor, arrays(steps))
    return DataLoader(TensorDataset(x, y), BATCH, pin_memory=pinned)


class Folder(ImageFolder):
    """A folder of one photo that counts as many."""

    def __init__(self, folder, count):
        super().__init__(folder)
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return super().__getitem__(0)

    def name(self, index):
        return super().name(0)


def photos(steps, **options):
    folder = Path(tempfile.gettempdir()) / "keras_dawn_one_photo"
    if not (folder / "0" / "0.jpg").exists():
        (folder / "0").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "0" / "0.jpg")
    source = Folder(folder, steps * BATCH)
    return ResizingImages(source, BATCH, image_size=SIDE, threads=1, **options)


def lstm():
    return keras.Sequential([keras.Input((6, 5)), layers.LSTM(8), layers.Dense(10)])


def series(steps):
    x = torch.zeros(steps * BATCH, 6, 5, device="cuda")
    y = torch.zeros(steps * BATCH, dtype=torch.int64, device="cuda")
    return DataLoader(TensorDataset(x, y), BATCH)


def recipe(name, preset="entry"):
    """A CIFAR-10 recipe's network, optimizer and augmentation, in its preset's precision."""
    module = importlib.import_module(name)
    presets = module.PRESETS if hasattr(module, "PRESETS") else module.presets(18)
    chosen = presets[preset]

    def optimizer():
        return keras_dawn.SGD(
            chosen.max_lr,
            momentum=chosen.momentum[0],
            nesterov=chosen.nesterov,
            weight_decay=chosen.weight_decay,
        )

    make = compiled(lambda: module.build_model(chosen, 10), chosen.precision, optimizer)
    return make, lambda steps: images(steps, chosen.augmentation, side=32)


def record(preset):
    """The record recipe's network, optimizer, loss and metrics, with the data it trains on."""
    cifar10_record = importlib.import_module("cifar10_record")

    compiled_model = importlib.import_module("recipe_parts.record_network").compiled_model

    chosen = cifar10_record.PRESETS[preset]
    some = SimpleNamespace(
        train_images=np.zeros((1, SIDE, SIDE, 3), np.uint8), class_names=list("0123456789")
    )

    def make():
        keras.config.set_dtype_policy(chosen.precision)
        model = compiled_model(chosen, some, data.LossMemory(MOST_STEPS * BATCH))
        keras.config.set_dtype_policy("float32")
        return model

    transforms = (data.PadCrop(2), data.AlternatingFlip(), data.OneHot(10))
    return make, lambda steps: images(steps, transforms)


def without_gamma():
    return keras.Sequential([
        keras.Input((SIDE, SIDE, 3)), layers.Conv2D(8, 3), layers.BatchNormalization(scale=False),
        layers.GlobalAveragePooling2D(), layers.Dense(10),
    ])  # fmt: skip


class Own(keras.Model):
    """A model that keeps its Python."""

    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv2D(4, 3)
        self.head = layers.Dense(10)

    def call(self, x):
        return self.head(self.convolution(x).mean((1, 2)))


def own():
    model = Own()
    model.compile(sgd(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.build((None, SIDE, SIDE, 3))
    return model


JITTER = (data.ColorJitter(0.25, 0.25, 0.25),)
CATEGORICAL = lambda: keras.losses.CategoricalCrossentropy(from_logits=True)  # noqa: E731


def half(optimizer):
    return (wide("mixed_float16", optimizer), images)


K = keras.optimizers
SETTINGS = {
    "float32": (wide("float32"), images),
    "bfloat16": (wide(), images),
    "float16": (wide("mixed_float16"), images),
    "float16, Muon": half(lambda: optimizers.Muon(0.02)),
    "float16, LARS": half(lambda: optimizers.LARS(0.5)),
    "float16, Adam": half(K.Adam),
    "float16, AdamW": half(K.AdamW),
    "float16, RMSprop": half(K.RMSprop),
    "Adam": (wide(optimizer=K.Adam), images),
    "AdamW": (wide(optimizer=K.AdamW), images),
    "RMSprop": (wide(optimizer=K.RMSprop), images),
    "Muon": (wide(optimizer=lambda: optimizers.Muon(0.02)), images),
    "LARS": (wide(optimizer=lambda: optimizers.LARS(0.5)), images),
    "Keras's SGD": (wide(optimizer=lambda: K.SGD(0.01, momentum=0.9)), images),
    "ResNet-50": (compiled(
        lambda: keras_dawn.models.ResNet50(input_shape=(32, 32, 3)), "mixed_bfloat16"
    ), lambda steps: loader_of(steps, 32)),
    "cifar10_wrn, dawnbench_1gpu": recipe("cifar10_wrn", "dawnbench_1gpu"),
    "cifar10_wrn, dawnbench_8gpu": recipe("cifar10_wrn", "dawnbench_8gpu"),
    "cifar10_resnet9, entry": recipe("cifar10_resnet9"),
    "cifar10_concat_pool, entry": recipe("cifar10_concat_pool"),
    "cifar10_preact_resnet, notebook": recipe("cifar10_preact_resnet", "notebook"),
    "imagenet_resnet50, fastai_8gpu": (compiled(
        lambda: keras_dawn.models.ResNet(50, classes=10), "mixed_float16"
    ), photos),
    "the record, gpu": record("gpu"),
    "the record, smoke": record("smoke"),
    "BatchNormalization without gamma": (compiled(without_gamma, "mixed_float16"), images),
    "LSTM": (compiled(lstm, "float32"), series),
    "LSTM, bfloat16, Adam": (compiled(lstm, "mixed_bfloat16", K.Adam), series),
    "ColorJitter": (wide(), lambda steps: images(steps, JITTER)),
    "PadCrop, RandomFlip, Cutout": (wide(), lambda steps: images(
        steps, (data.PadCrop(2), data.RandomFlip(), data.Cutout(4))
    )),
    "RandomRotation": (wide(), lambda steps: images(steps, (data.RandomRotation(2),))),
    "AlternatingFlip": (wide(), lambda steps: images(steps, (data.AlternatingFlip(),))),
    "Resize": (wide(), lambda steps: images(steps, (data.Resize(SIDE),))),
    "MixUp": (wide(loss=CATEGORICAL), lambda steps: images(
        steps, (data.OneHot(10), data.MixUp(0.2))
    )),
    "CutMix": (wide(loss=CATEGORICAL), lambda steps: images(
        steps, (data.OneHot(10), data.CutMix(1.0))
    )),
    "Shuffled": (wide(), lambda steps: images(steps, sampler=data.Shuffled(1))),
    "photos": (wide(), photos),
    "photos, ColorJitter": (wide(), lambda steps: photos(
        steps, transforms=[data.RandomFlip(), *JITTER]
    )),
    "NumPy arrays": (wide(), arrays),
    "NumPy arrays, ResumeTraining": (wide(), arrays, lambda: [keras_dawn.ResumeTraining(
        tempfile.mkdtemp(), every_seconds=1000
    )]),
    "DataLoader, pinned": (wide(), loader),
    "DataLoader": (wide(), lambda steps: loader(steps, pinned=False)),
    "LossMemory": (wide(metrics=("accuracy", lambda: data.LossMemory(MOST_STEPS * BATCH))), images),
    "top-5": (wide(metrics=(
        lambda: keras.metrics.SparseTopKCategoricalAccuracy(5),
    )), images),
    "a loss of the user's": (wide(loss=lambda: lambda y, p: (p - 1.0).square().mean(-1)), images),
    "OneCycle": (wide(), images, lambda: [keras_dawn.OneCycle(0.1)]),
    "ExponentialMovingAverage": (wide(), images, lambda: [
        callbacks.ExponentialMovingAverage(0.9)
    ]),
    "LayerStatistics": (wide(), images, lambda: [
        callbacks.LayerStatistics(np.zeros((4, SIDE, SIDE, 3), "float32"), np.zeros(4, "int64"),
                                  every_steps=1000)
    ]),
    "Lookahead": (wide(), images, lambda: [callbacks.Lookahead(5, 0.5)]),
    "ResumeTraining": (wide(), images, lambda: [keras_dawn.ResumeTraining(
        tempfile.mkdtemp(), every_seconds=1000
    )]),
    "subclassed": (own, arrays),
    "TimeToAccuracy": (wide(), images, lambda: [keras_dawn.TimeToAccuracy(94.0)]),
}  # fmt: skip


def loader_of(steps, side):
    x = torch.zeros(steps * BATCH, side, side, 3, device="cuda")
    return DataLoader(
        TensorDataset(x, torch.zeros(len(x), dtype=torch.int64, device="cuda")), BATCH
    )
