"""Every optimizer, source, transform and callback that `settings.py` has in no setting yet.

`tests/test_null_gpu_table.py` sees that each class has its own.
"""

import tempfile
from pathlib import Path

import keras_dawn
from keras_dawn import callbacks, data, schedules

import imagenet_resnet50
import imagewoof
import keras
import numpy as np
from settings import BATCH, MOST_STEPS, SIDE, compiled, images, photos, record, wide

from recipe_parts.photo_network import build_network, build_optimizer

K, C = keras.optimizers, keras.callbacks


def optimizer(name, **options):
    return wide(optimizer=lambda: getattr(K, name)(0.001, **options)), images


def several():
    inner = K.OptimizerMap(K.SGD(0.01, momentum=0.9), {"dense": K.Adam(0.001)})
    return K.MultiOptimizer(inner)


OPTIMIZERS = {
    **{name: optimizer(name) for name in (
        "Adadelta", "Adafactor", "Adagrad", "Adamax", "Ftrl", "Lamb", "Lion", "Nadam",
        "ScheduleFreeAdamW",
    )},
    "Keras's Muon": optimizer("Muon"),
    "MultiOptimizer": (wide(optimizer=several), images),
}  # fmt: skip


def served(make_sampler):
    """Images in the order of a sampler, which gets their number."""
    return wide(), lambda steps: images(steps, sampler=make_sampler(steps * BATCH))


def hardest(count):
    return data.Hardest(data.LossMemory(count), 1.0)


SAMPLERS = {
    "InOrder": served(lambda count: data.InOrder()),
    "Balanced": served(lambda count: data.Balanced(np.arange(count) % 10)),
    "Hardest": served(hardest),
    "Shuffled, weights of images": served(lambda count: data.Shuffled(weights=np.ones(count))),
}


def transformed(*transforms):
    return wide(), lambda steps: images(steps, transforms)


def gray():
    return keras_dawn.models.WideResNet(10, 1, input_shape=(SIDE, SIDE, 1))


TRANSFORMS = {
    "Grayscale": (
        compiled(gray, "mixed_bfloat16"),
        lambda steps: images(steps, (data.Grayscale(),)),
    ),
    "RandomErasing": transformed(data.RandomErasing()),
    "RandAugment": transformed(data.RandAugment()),
    "TrivialAugment": transformed(data.TrivialAugment()),
    "Normalize": transformed(data.Normalize()),
}


def with_callback(make):
    return wide(), images, lambda: [make()]


def file(name):
    return str(Path(tempfile.mkdtemp()) / name)


CALLBACKS = {
    "ParameterSchedule": with_callback(lambda: keras_dawn.ParameterSchedule(
        {"learning_rate": schedules.linear(0.1, 0.0)}
    )),
    "Snapshots": with_callback(lambda: callbacks.Snapshots([1.0])),
    "StochasticWeightAveraging": with_callback(
        lambda: callbacks.StochasticWeightAveraging(images(MOST_STEPS), start=0.0)
    ),
    "Keras's LearningRateScheduler": with_callback(
        lambda: C.LearningRateScheduler(lambda epoch: 0.01)
    ),
    "Keras's ReduceLROnPlateau": with_callback(lambda: C.ReduceLROnPlateau("loss")),
    "Keras's EarlyStopping": with_callback(lambda: C.EarlyStopping("loss")),
    "Keras's CSVLogger": with_callback(lambda: C.CSVLogger(file("log.csv"))),
    "Keras's ModelCheckpoint": with_callback(lambda: C.ModelCheckpoint(file("model.keras"))),
    "Keras's BackupAndRestore": with_callback(lambda: C.BackupAndRestore(file("backup"))),
    "Keras's SwapEMAWeights": (
        wide(optimizer=lambda: K.SGD(0.01, momentum=0.9, use_ema=True)),
        images,
        lambda: [C.SwapEMAWeights()],
    ),
}  # fmt: skip
RECORDS = {f"the record, {preset}": record(preset) for preset in (
    "gpu_hiverge", "cpu", "cpu_hardest"
)}  # fmt: skip


def photo_recipe(recipe, name):
    """A photo recipe's network, optimizer and loss, in the precision of its GPU."""
    preset = recipe.PRESETS[name]
    hard = keras.losses.SparseCategoricalCrossentropy
    loss = keras.losses.CategoricalCrossentropy if preset.label_smoothing else hard
    smoothing = {"label_smoothing": preset.label_smoothing} if preset.label_smoothing else {}
    make = compiled(
        lambda: build_network(preset, 10),
        "mixed_float16",
        lambda: build_optimizer(preset),
        loss=lambda: loss(from_logits=True, **smoothing),
    )
    soft = {"transforms": [data.RandomFlip(), data.OneHot(10)]} if smoothing else {}
    slow = [lambda: [callbacks.Lookahead(every=6)]] if preset.lookahead else []
    return make, lambda steps: photos(steps, **soft), *slow


PHOTOS = {
    **{
        f"imagenet_resnet50, {name}": photo_recipe(imagenet_resnet50, name)
        for name in ("imagenet18_1", "modern_18", "small")
    },
    **{f"imagewoof, {name}": photo_recipe(imagewoof, name) for name in ("board", "small")},
}
EACH = {**OPTIMIZERS, **SAMPLERS, **TRANSFORMS, **CALLBACKS, **RECORDS, **PHOTOS}
