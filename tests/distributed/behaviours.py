"""Scenarios of how a job of several processes goes on, stops, saves and refuses."""

import os
import signal
from pathlib import Path

import keras_dawn

import keras
import numpy as np
import torch
from keras import layers
from scenarios import LOSS, NORMALIZE, images, rank, scenario, state, wide_resnet_10


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
                factors[:] = [float("inf") if batch == 1 else 1.0]

    factors = [1.0]
    source = images(128, transforms=[NORMALIZE, lambda images, random: images * factors[0]])
    # The batch is made before `on_train_batch_begin`, so the one after it is poisoned.
    model.fit(source, epochs=1, shuffle=False, verbose=0, callbacks=[Poison()])
    return {
        **state(model),
        "scale": float(optimizer.dynamic_scale),
        "steps": int(optimizer.inner_optimizer.iterations),
    }


class OfOneLayer(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1, kernel_initializer="zeros", name="dense")

    def call(self, inputs):
        return self.dense(inputs)


class Scales(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(float(self.model.optimizer.dynamic_scale))


@scenario
def scales_of_half_precision():
    """Graphs and a model of one's own Python whose gradients come near to float16's end."""
    found = []
    for kind in ("outputs", "bias", "python"):
        keras.config.set_dtype_policy("mixed_float16")
        dense = layers.Dense(1, use_bias=kind == "bias", kernel_initializer="zeros")
        graph = keras.Sequential([keras.Input((4,)), dense])
        model = OfOneLayer() if kind == "python" else graph
        keras.config.set_dtype_policy("float32")
        # An image's first gradient is 2 / 8 of the scale, half of float16's range, and in a part of
        # the batch it would be twice that; the bias's is the sum over the batch.
        optimizer = keras.optimizers.LossScaleOptimizer(
            keras_dawn.SGD(0.5, momentum=0.9), initial_scale=2.0**17, dynamic_growth_steps=4
        )
        model.compile(optimizer, "mse")
        keras_dawn.accelerate(model)
        look = Scales()
        x = np.random.default_rng(0).uniform(0, 0.1, (27, 4)).astype("float32")
        history = model.fit(
            x, np.ones((27, 1)), 8, epochs=4, shuffle=False, verbose=0, callbacks=[look]
        )
        found.append({**state(model), "history": history.history["loss"], "scales": look.found})
    return found


class CountSteps(keras.callbacks.Callback):
    def __init__(self, at=None, action=None):
        super().__init__()
        self.at, self.action, self.steps = at, action, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at:
            self.action(self.model)


@scenario
def frozen_within_an_epoch():
    normalize = layers.BatchNormalization(momentum=1.0)  # leaves the moving averages alone
    flat = layers.Flatten(), layers.Dense(4)
    model = keras.Sequential([keras.Input((16, 16, 3)), *flat, normalize, layers.Dense(10)])
    model.compile(keras_dawn.SGD(0.01), LOSS)
    keras_dawn.accelerate(model)
    seen = []

    def freeze(model):
        normalize.moving_mean.assign(np.full(4, 1.0 + rank()))
        model.layers[1].trainable = False  # so that it is lowered again

    def look(model):
        seen.append(normalize.moving_mean.numpy().tolist())

    callbacks = [CountSteps(2, freeze), CountSteps(3, look)]
    model.fit(images(128), epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
    return seen


def small_model(seed=None):
    drop = layers.Dropout(0.5, seed=seed)
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), drop, layers.Dense(10)])
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
def validated_on_one_image():
    """Fewer images than ranks: arrays, this package's data, a split, and callbacks on them."""
    keras.utils.set_random_seed(3)
    x = np.random.default_rng(0).normal(size=(33, 16, 16, 3)).astype("float32")
    y = np.arange(33) % 10
    ways = {
        "arrays": {"validation_data": (x[:1], y[:1])},
        "images": {"validation_data": images(1)},
        "split": {"validation_split": 1 / 33},
    }
    found = {}
    for name, way in ways.items():
        model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(10)])
        model.compile(keras_dawn.SGD(0.01), LOSS, metrics=["accuracy"])
        keras_dawn.accelerate(model)
        first = model.evaluate(x[:1], y[:1], verbose=0)
        lower = keras.callbacks.ReduceLROnPlateau(patience=0, min_delta=1e9)
        fit = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0, "callbacks": [lower]}
        history = model.fit(x[: None if name == "split" else 32], y[: len(y) - (name != "split")],
                            **fit, **way).history  # fmt: skip
        found[name] = {**state(model), "history": history, "first": first}
    return found


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
    drawn = torch.rand(4)
    seeded = small_model(seed=5)
    drop = seeded.layers[1]
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: setattr(drop, "rate", 0.4))
    seeded.fit(images(64), epochs=2, shuffle=False, verbose=0, callbacks=[callback])
    generator = drop.seed_generator.state.numpy().tolist()
    explained = str(keras_dawn.explain(model))
    return {"drawn": drawn, "generator": generator, "explained": explained}


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

        resume = keras_dawn.ResumeTraining(folder / name, every_steps=3, every_seconds=1e-6)
        callbacks = [CountSteps(cut, stop), resume]
        data = images(64, 16, batch_size=16, sampler=keras_dawn.data.Shuffled())
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

    class OwnMetric(keras.metrics.SparseCategoricalAccuracy):
        pass

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

    def other_arrays():
        x = np.random.default_rng(rank()).normal(size=(8, 16, 16, 3))
        small_model().evaluate(x, np.ones(8), verbose=0)

    def other_order():
        other = images(64, sampler=keras_dawn.data.Shuffled(rank()))
        small_model().fit(other, verbose=0, shuffle=False)

    def other_sampler():
        rows = torch.utils.data.TensorDataset(torch.ones(8, 16, 16, 3), torch.ones(8))
        sampler = torch.utils.data.DistributedSampler(rows, 2, 1 - rank())
        small_model().fit(torch.utils.data.DataLoader(rows, 4, sampler=sampler), verbose=0)

    def drawn_phase():
        torch.manual_seed(0)  # alike on all ranks, until they train

        def drawn(phase):
            everything, places = images(64), torch.randperm(64)
            kept = everything.images[places], everything.labels[places]
            return keras_dawn.data.DeviceImages(*kept, phase.batch_size, transforms=(NORMALIZE,))

        phases = [keras_dawn.Phase(1, 16, size, 0.01) for size in (32, 16)]
        keras_dawn.fit_plan(small_model(), phases, drawn, verbose=0)

    messages = {}
    for attempt in (generator, own_metric, summed_loss, class_weight, last_batch,
                    different_plans, backup, other_arrays, other_order, other_sampler,
                    drawn_phase):  # fmt: skip
        try:
            attempt()
            messages[attempt.__name__] = None
        except ValueError as error:
            messages[attempt.__name__] = str(error)
    return messages
