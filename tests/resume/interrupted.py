"""A training in a process of its own, for tests that hurt it: FOLDER OUT [--slow] [--plain]."""

import os
import signal
import sys
import time
from pathlib import Path

import keras_dawn
from keras_dawn import ResumeTraining, data

import keras
import numpy as np
import torch

from tests.resume.this_process import ThisProcess


class Hurt(ThisProcess):
    """Does to its own process what the environment says, in a step's middle."""

    def __init__(self):
        super().__init__()
        how, at = os.environ.get("HURT", "nothing:0").split(":")
        ranks, lives = (
            keras_dawn.distributed.current(),
            os.environ.get("TORCHELASTIC_RESTART_COUNT"),
        )
        if ranks.rank != ranks.world_size - 1 or lives not in (None, "0"):
            how = "nothing"  # the last rank is hurt, once
        self.how, self.at, self.steps = how, int(at), 0

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at:
            self.hurt()

    def hurt(self):
        if self.how in ("SIGKILL", "SIGTERM", "SIGINT"):
            os.kill(os.getpid(), getattr(signal, self.how))
            time.sleep(0.01)
        elif self.how == "full":  # files can grow no more
            import resource  # which Windows has not

            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        elif self.how == "nan":
            self.model.trainable_variables[0].assign(
                np.full(self.model.trainable_variables[0].shape, np.nan)
            )
        elif self.how == "clock":
            time.time = lambda: 0.0


def main(folder, out, *options):
    ranks = keras_dawn.distribute()
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    labels = random.integers(0, 3, 40)
    train = data.DeviceImages(
        pixels, labels, 8, transforms=[data.PadCrop(1)], sampler=data.Shuffled()
    )
    half = "--half" in options
    keras.config.set_dtype_policy("mixed_float16" if half else "float32")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))
    optimizer = keras_dawn.SGD(0.1, momentum=0.9)
    if half:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    if "--plain" not in options:
        keras_dawn.accelerate(model)
    resume = ResumeTraining(folder, every_steps=2, data=train)
    history = model.fit(
        train,
        validation_data=data.DeviceImages(pixels[:16], labels[:16], 8),
        epochs=4,
        verbose=0,
        shuffle=False,
        callbacks=[keras_dawn.OneCycle(0.2), Hurt(), resume],
    )
    if not ranks.is_main:
        return
    torch.save(
        {
            "weights": [v.value.detach() for v in model.variables],
            "optimizer": [v.value.detach() for v in model.optimizer.variables],
            "history": history.history,
            "processes": resume.paid.processes,
            "paid": resume.paid.seconds(),
        },
        Path(out),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
