"""What the tests run in one process and, under torchrun, in several.

    torchrun --nproc-per-node=2 tests/distributed/scenarios.py FOLDER NAME NAME …

writes what each scenario returns to `FOLDER/NAME-RANK.pt`.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import keras_dawn
from keras_dawn import data
from keras_dawn.distributed import ranks as ranks_module
from keras_dawn.distributed.batch_norm import synchronize_batch_normalization

import keras
import numpy as np
import torch
from keras import layers

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def rank():
    return keras_dawn.distributed.current().rank


def images(count, size=16, classes=10, batch_size=32, **arguments):
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = random.integers(0, classes, count)
    return data.DeviceImages(pixels, labels, batch_size, mean=(0.5,), std=(0.3,), **arguments)


def plain_convolutions():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def wide_resnet_10():
    return keras_dawn.models.WideResNet(10, 1, input_shape=(16, 16, 3))


def mobile_net():
    return keras.applications.MobileNet(
        (32, 32, 3), 0.25, dropout=0.0, weights=None, classes=10, classifier_activation=None
    )


def state(model):
    return {
        "weights": [torch.as_tensor(w) for w in model.get_weights()],
        "optimizer": [v.value.detach().clone() for v in model.optimizer.variables],
    }


def train(build, precision="float32", size=16, epochs=10, rate=0.05, synchronize=True):
    """Thirty one-cycle steps with an uneven last batch, from a rank's own initialisation."""
    keras.utils.set_random_seed(100 + rank())
    keras.config.set_dtype_policy(precision)
    model = build()
    if synchronize:
        synchronize_batch_normalization(model)
    optimizer = keras_dawn.SGD(rate, momentum=0.9, weight_decay=1e-3)
    top5 = keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5")
    model.compile(optimizer, LOSS, metrics=["accuracy", top5])
    keras_dawn.accelerate(model)
    train_data = images(
        70, size, shuffle=True, augment=[data.PadCrop(2), data.RandomFlip()], seed=3
    )
    start = [torch.as_tensor(w) for w in model.get_weights()]
    history = model.fit(
        train_data,
        validation_data=images(37, size),
        epochs=epochs,
        callbacks=[keras_dawn.OneCycle(rate, momentum=(0.95, 0.85))],
        verbose=0,
        shuffle=False,
    )
    keras.config.set_dtype_policy("float32")
    return {**state(model), "history": history.history, "start": start}


def in_float64(function):
    """Runs with Keras in float64 throughout; its promotion rules say float32 on torch."""
    from keras.src.backend.common import dtypes

    table = dtypes.BIT64_TO_BIT32_DTYPE
    before, table["float64"] = table["float64"], "float64"
    keras.config.set_floatx("float64")
    try:
        return function()
    finally:
        table["float64"] = before
        keras.config.set_floatx("float32")


@scenario
def no_batch_norm():
    return train(plain_convolutions)


@scenario
def no_batch_norm_float64():
    return in_float64(lambda: train(plain_convolutions, "float64"))


@scenario
def wide_resnet():
    # At a rate of 0.05, changing one process's initial weights by one rounding unit changes
    # its weights after 30 steps by 1e-2: rounding could not be told from a fault.
    return train(wide_resnet_10, rate=1e-4)


@scenario
def wide_resnet_float64():
    return in_float64(
        lambda: train(
            lambda: keras_dawn.models.WideResNet(10, 1, input_shape=(16, 16, 3)), "float64"
        )
    )


@scenario
def application_float64():
    # Gradients are large here; at 1e-4 one rounding unit grows to 1e-3 in one process too.
    return in_float64(lambda: train(mobile_net, "float64", size=32, rate=1e-5))


@scenario
def lowered_again():
    """A layer is frozen between two fits, compile is called anew, evaluations are uneven."""
    keras.utils.set_random_seed(3 + rank())
    model = wide_resnet_10()
    synchronize_batch_normalization(model)
    for frozen in ("stem", "group1_block1_conv1"):
        model.compile(keras_dawn.SGD(1e-4, momentum=0.9), LOSS, metrics=["accuracy"])
        keras_dawn.accelerate(model)
        for epoch in range(2):
            model.fit(images(32), initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0)
            # The metric is fed by Keras; one rank has a batch more than the other.
            entropy = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(model.optimizer, LOSS, metrics=[entropy])
            model.evaluate(images(33), verbose=0)
        model.get_layer(frozen).trainable = False
    return state(model)


@scenario
def local_statistics():
    return train(
        lambda: keras_dawn.models.WideResNet(10, 1, input_shape=(16, 16, 3)),
        epochs=2,
        synchronize=False,
    )


def compressed(dtype):
    before = ranks_module._current
    ranks_module._current = dataclasses.replace(before, gradient_compression=dtype)
    try:
        return train(plain_convolutions)
    finally:
        ranks_module._current = before


@scenario
def compressed_float16():
    return compressed("float16")


@scenario
def compressed_bfloat16():
    return compressed("bfloat16")


@scenario
def arrays():
    """Arrays with sample weights and a validation split; Adam; 1,003 samples evaluated."""
    keras.utils.set_random_seed(7 + rank())
    random = np.random.default_rng(1)
    x = random.normal(size=(1003, 6)).astype("float32")
    y = (x.sum(1, keepdims=True) + random.normal(size=(1003, 1)) > 0).astype("float32")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.AUC(from_logits=True, name="auc"), "accuracy"],
    )
    keras_dawn.accelerate(model)
    weights = random.uniform(0.5, 1.5, 1003).astype("float32")
    history = model.fit(
        x, y, 64, epochs=2, validation_split=0.2, sample_weight=weights, shuffle=False, verbose=0
    )
    return {**state(model), "history": history.history, "result": model.evaluate(x, y, verbose=0)}


@scenario
def top5():
    keras.utils.set_random_seed(7 + rank())
    model = wide_resnet_10()
    model.compile(
        keras_dawn.SGD(0.05),
        LOSS,
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(5)],
    )
    keras_dawn.accelerate(model)
    model.fit(images(64), epochs=1, shuffle=False, verbose=0)
    weights = [torch.as_tensor(w) for w in model.get_weights()]
    return {"result": model.evaluate(images(1003, batch_size=100), verbose=0), "weights": weights}


@scenario
def range_test():
    keras.utils.set_random_seed(7 + rank())
    model = plain_convolutions()
    model.compile(keras_dawn.SGD(0.05, momentum=0.9), LOSS)
    keras_dawn.accelerate(model)
    found = keras_dawn.find_learning_rate(
        model, images(70), start=1e-3, end=0.5, steps=20, shuffle=False
    )
    return {"losses": found.losses, "weights": [torch.as_tensor(w) for w in model.get_weights()]}


@scenario
def inf_on_one_rank():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    model = wide_resnet_10()
    keras.config.set_dtype_policy("float32")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras_dawn.SGD(0.01, momentum=0.9), initial_scale=512.0
    )
    model.compile(optimizer, LOSS)
    keras_dawn.accelerate(model)

    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if rank() == keras_dawn.distributed.current().world_size - 1:
                source._mean = torch.tensor([float("inf") if batch == 1 else 0.5])

    source = images(128)
    # The batch is made before `on_train_batch_begin`, so the one after it is poisoned.
    model.fit(source, epochs=1, shuffle=False, verbose=0, callbacks=[Poison()])
    return {
        **state(model),
        "scale": float(optimizer.dynamic_scale),
        "steps": int(optimizer.inner_optimizer.iterations),
    }


class CountSteps(keras.callbacks.Callback):
    def __init__(self, at=None, action=None):
        super().__init__()
        self.at, self.action, self.steps = at, action, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at:
            self.action(self.model)


def small_model():
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Flatten(), layers.Dropout(0.5), layers.Dense(10)]
    )
    model.compile(keras_dawn.SGD(0.01), LOSS)
    return keras_dawn.accelerate(model)


@scenario
def stop_on_one_rank():
    def stop(model):
        if rank() == 1:
            model.stop_training = True

    steps = []
    for at in (3, 8):  # in the middle of an epoch of 8 steps, and on its last
        counter = CountSteps(at, stop)
        small_model().fit(images(256), epochs=3, shuffle=False, verbose=0, callbacks=[counter])
        steps.append(counter.steps)
    return {"steps": steps}


@scenario
def early_stopping():
    counter = CountSteps()
    early = keras.callbacks.EarlyStopping("loss", min_delta=100.0, patience=1)
    small_model().fit(images(64), epochs=9, shuffle=False, verbose=0, callbacks=[early, counter])
    return {"steps": counter.steps}


@scenario
def signal_on_one_rank():
    def send(model):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    counter = CountSteps(3, send)
    interrupted = False
    try:
        small_model().fit(images(256), epochs=3, shuffle=False, verbose=0, callbacks=[counter])
    except KeyboardInterrupt:
        interrupted = True
    return {"steps": counter.steps, "interrupted": interrupted}


@scenario
def random_streams():
    keras.utils.set_random_seed(11)
    model = small_model()
    model.fit(images(64), epochs=1, shuffle=False, verbose=0)
    return {"drawn": torch.rand(4), "explained": str(keras_dawn.explain(model))}


@scenario
def saving():
    folder = Path(os.environ["SAVE_TO"])
    model = small_model()
    checkpoint = keras.callbacks.ModelCheckpoint(str(folder / "{epoch}.weights.h5"),
                                                 save_weights_only=True)  # fmt: skip
    log = keras.callbacks.CSVLogger(str(folder / "log.csv"))
    model.fit(images(64), epochs=2, shuffle=False, verbose=0, callbacks=[checkpoint, log])
    model.save(folder / "model.keras")
    return {**state(model), "predicted": torch.as_tensor(model.predict(np.ones((5, 16, 16, 3)),
                                                                       verbose=0))}  # fmt: skip


@scenario
def resumed():
    """An unbroken run, and one that is cut off on all ranks and started again."""
    folder = Path(os.environ.get("SAVE_TO", "."))

    def once(name, cut=None):
        keras.utils.set_random_seed(100 + rank())
        model = wide_resnet_10()
        model.compile(keras_dawn.SGD(0.05, momentum=0.9), LOSS)
        keras_dawn.accelerate(model)

        def stop(model):
            raise RuntimeError("cut off")

        callbacks = [CountSteps(cut, stop), keras_dawn.ResumeTraining(folder / name, every_steps=2)]
        data = images(64, 16, batch_size=16, shuffle=True)
        try:
            model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
        except RuntimeError:
            return None
        return {**state(model), "history": model.history.history}

    whole = once("whole")
    once("cut", cut=7)
    return {"whole": whole, "again": once("cut")}


@scenario
def refusals():
    """The message with which each thing that does not work on several ranks is refused."""

    class OwnStep(keras.Sequential):
        def train_step(self, *args):
            raise AssertionError

    class OwnMetric(keras.metrics.SparseCategoricalAccuracy):
        pass

    def own_step():
        model = OwnStep([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(10)])
        model.compile("sgd", LOSS)
        keras_dawn.accelerate(model).fit(images(64), verbose=0, shuffle=False)

    def generator():
        small_model().fit(iter([]), verbose=0)

    def own_metric():
        model = small_model()
        model.compile("sgd", LOSS, metrics=[OwnMetric(name="mine")])
        model.fit(images(64), verbose=0, shuffle=False)

    def summed_loss():
        model = small_model()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        model.compile("sgd", loss)
        model.fit(images(64), verbose=0, shuffle=False)

    def class_weight():
        small_model().fit(np.ones((8, 16, 16, 3)), np.ones(8), class_weight={1: 2.0}, verbose=0)

    def last_batch():
        small_model().fit(images(33), verbose=0, shuffle=False)

    def different_plans():
        small_model().fit(images(64), epochs=1 + rank(), verbose=0, shuffle=False)

    def backup():
        callback = keras.callbacks.BackupAndRestore("nowhere")
        small_model().fit(images(64), callbacks=[callback], verbose=0, shuffle=False)

    messages = {}
    for attempt in (own_step, generator, own_metric, summed_loss, class_weight, last_batch,
                    different_plans, backup):  # fmt: skip
        try:
            attempt()
            messages[attempt.__name__] = None
        except ValueError as error:
            messages[attempt.__name__] = str(error)
    return messages


def main(folder, names):
    torch.set_num_threads(1)
    keras_dawn.distribute()
    for name in names:
        result = SCENARIOS[name]()
        torch.save(result, Path(folder) / f"{name}-{rank()}.pt")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
