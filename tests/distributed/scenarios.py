"""What the tests run in one process and in several.

Trainings whose results are compared here, how they go on and end in `behaviours`; started by
`run_scenarios`.
"""

import dataclasses
import warnings

import keras_dawn
from keras_dawn import data
from keras_dawn.distributed import ranks as ranks_module
from keras_dawn.distributed.batch_norm import synchronize_batch_normalization
from keras_dawn.evaluation import evaluate_images

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


NORMALIZE = data.Normalize(0.5, 0.3)


def images(count, size=16, classes=10, batch_size=32, transforms=(NORMALIZE,), **arguments):
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    labels = random.integers(0, classes, count)
    return data.DeviceImages(pixels, labels, batch_size, transforms=transforms, **arguments)


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


def train(build, precision="float32", size=16, epochs=5, rate=0.05, synchronize=True):
    """Fifteen one-cycle steps with an uneven last batch, from a rank's own initialisation."""
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
        70,
        size,
        transforms=[data.PadCrop(2), data.RandomFlip(), NORMALIZE],
        sampler=data.Shuffled(3),
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
    return in_float64(lambda: train(mobile_net, "float64", 32, epochs=2, rate=1e-5))


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


def distances(targets, outputs):
    return keras.ops.mean(keras.ops.abs(targets - outputs), -1)


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
        weighted_metrics=[distances],
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
    everything = images(1003, batch_size=100)
    return {
        "result": model.evaluate(everything, verbose=0),
        "counted": evaluate_images(model, everything),
        "weights": weights,
    }


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
def weighed_and_balanced():
    """Weights by class for `fit`, then a balanced sampler with weights of its own."""
    keras.utils.set_random_seed(100 + rank())
    model = plain_convolutions()
    model.compile(keras_dawn.SGD(0.05), LOSS, weighted_metrics=["accuracy"])
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    settings = {"epochs": 2, "shuffle": False, "verbose": 0}
    weights = {label: (1.0 + label) / 10 for label in range(10)}
    first = model.fit(images(70, sampler=data.Shuffled(3)), class_weight=weights, **settings)
    labels = images(70).labels.cpu().numpy()
    balanced = data.Balanced(labels, weights=np.arange(70) / 35)
    second = model.fit(images(70, sampler=balanced), **settings)
    history = {name: first.history[name] + second.history[name] for name in first.history}
    return {**state(model), "history": history, "start": start}


def _of_words(ignore_class, weighted):
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(100 + rank())
    random = np.random.default_rng(2)
    words = random.integers(1, 20, (35, 6))
    lengths = np.where(np.arange(35) % 2, 1, 6)  # those of the first rank are long
    words[np.arange(6) >= lengths[:, None]] = 0
    tags = np.where(words == 0, -1 if ignore_class is not None else 0, words % 3)
    model = keras.Sequential(
        [keras.Input((6,), dtype="int32"), layers.Embedding(20, 4, mask_zero=ignore_class is None),
         layers.Dense(3)]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=ignore_class)
    # Keras's weighted metrics see the weights as the loss has masked them.
    weighed = ["sparse_categorical_accuracy"] if weighted else None
    model.compile(keras.optimizers.SGD(1.0), loss, weighted_metrics=weighed)
    keras_dawn.accelerate(model)
    keras.config.set_dtype_policy("float32")
    start = [torch.as_tensor(w) for w in model.get_weights()]
    weights = random.uniform(0.5, 1.5, (35, 6)) if weighted else None
    everything = (words, tags) if weights is None else (words, tags, weights)
    few = tuple(array[:33] for array in everything)  # of the last batch a rank has nothing
    history = model.fit(
        words, tags, 8, epochs=2, sample_weight=weights, shuffle=False, verbose=0,
        validation_data=few, validation_batch_size=8,
    ).history  # fmt: skip
    result = model.evaluate(*everything[:2], 8, 0, *everything[2:])
    return {**state(model), "history": history, "start": start, "result": result}


@scenario
def masked_words():
    """Weighted words of texts whose lengths differ; the last batch has three texts."""
    return in_float64(lambda: _of_words(None, weighted=True))


@scenario
def ignored_words():
    return in_float64(lambda: _of_words(-1, weighted=False))


@scenario
def an_output_without_a_loss():
    """Its weights get no gradient, so that weight decay leaves them alone."""
    return in_float64(_of_two_heads)


def two_heads():
    """A model of two outputs, in float64, that each rank builds with weights of its own."""
    keras.utils.set_random_seed(100 + rank())
    keras.config.set_dtype_policy("float64")
    inputs = keras.Input((5,))
    x = layers.Dense(4, "tanh")(inputs)
    return keras.Model(inputs, [layers.Dense(2, name=name)(x) for name in "ab"])


def _of_two_heads():
    model = two_heads()
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), ["mse", None])
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    x, y = np.random.default_rng(0).normal(size=(2, 20, 5))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        history = model.fit(x, [y[:, :2]] * 2, batch_size=8, epochs=2, shuffle=False, verbose=0)
    keras.config.set_dtype_policy("float32")
    return {**state(model), "history": history.history, "start": start}
