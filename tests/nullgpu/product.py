"""A program for the null GPU: what a step costs in each combination of what people train with.

Networks, optimizers, precisions and data all with one another, in lines of JSON as `steps.py` has
them. Names of combinations, or parts of names, choose.
"""

import itertools
import sys

import keras_dawn
from keras_dawn import data, optimizers

import cifar10_record
import keras
import numpy as np
import settings
from keras import layers
from steps import report

SIDE = 32


def lstm():
    rows = layers.Reshape((SIDE, SIDE * 3))
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), rows, layers.LSTM(16), layers.Dense(10)])


def record():
    preset = cifar10_record.PRESETS["gpu"]
    return keras_dawn.models.WhitenedConvNet(
        preset.widths, shortcuts=preset.shortcuts, gates=preset.gates, winograd=preset.winograd,
        input_shape=(SIDE, SIDE, 3), classes=10, whitening_bias=True,
    )  # fmt: skip


NETWORKS = {
    "WRN-22-6": lambda: keras_dawn.models.WideResNet(22, 6, input_shape=(SIDE, SIDE, 3)),
    "ResNet-50": lambda: keras_dawn.models.ResNet50(classes=10, input_shape=(SIDE, SIDE, 3)),
    "the record": record,
    "LSTM": lstm,
}
OPTIMIZERS = {
    "SGD": settings.sgd,
    "Adam": keras.optimizers.Adam,
    "AdamW": keras.optimizers.AdamW,
    "Muon": lambda: optimizers.Muon(0.02),
}
POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


def images(steps):
    transforms = (data.PadCrop(4), data.RandomFlip(), data.Cutout(8))
    return settings.images(steps, transforms, side=SIDE)


def arrays(steps):
    count = steps * settings.BATCH
    return np.zeros((count, SIDE, SIDE, 3), "float32"), np.zeros(count, "int64")


SOURCES = {"DeviceImages": images, "NumPy": arrays}


def combinations():
    """`(name, (a function that makes the model, one that makes the data))`."""
    for parts in itertools.product(NETWORKS, OPTIMIZERS, POLICIES, SOURCES):
        network, optimizer, policy, source = parts
        make = settings.compiled(NETWORKS[network], POLICIES[policy], OPTIMIZERS[optimizer])
        yield ", ".join(parts), (make, SOURCES[source])


if __name__ == "__main__":
    wanted = sys.argv[1:]
    report(
        (name, setting)
        for name, setting in combinations()
        if not wanted or any(part in name for part in wanted)
    )
