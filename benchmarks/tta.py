"""What test-time augmentation gains on trained networks, several seeds.

    python benchmarks/tta.py --data_dir=FOLDER --json=FILE

A WRN-10-1 learns a part of CIFAR-10 for a few epochs of one cycle with random crops and flips;
then the 10,000 test images are evaluated once as they are and with each kind of views.
"""

import json
import statistics
from pathlib import Path

import keras_dawn
from keras_dawn import SGD, OneCycle, data, evaluate_tta
from keras_dawn.data.choose import choose_dataset
from keras_dawn.dawnbench.records import environment
from keras_dawn.evaluation import Augmented, Views
from keras_dawn.foundation.counted import counted
from keras_dawn.foundation.precision import best_precision

import command_line
import keras
from absl import flags
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
flags.DEFINE_integer("train_images", 12500, "how many to train on", lower_bound=1)
flags.DEFINE_integer("epochs", 7, "epochs of training", lower_bound=1)
flags.DEFINE_float("max_lr", 0.5, "highest learning rate")
flags.DEFINE_integer("seeds", 4, "networks", lower_bound=1)
flags.DEFINE_string("json", None, "file to write the results to")

AUGMENTATION = (data.PadCrop(4), data.RandomFlip())


def accuracies(images, seed):
    """Trains a network; its accuracy in percent for each kind of views."""
    keras.utils.set_random_seed(seed)
    train = data.DeviceImages(
        images.train_images,
        images.train_labels,
        128,
        transforms=[*AUGMENTATION, images.normalize],
        sampler=data.Shuffled(),
    )
    test_arrays = images.test_images, images.test_labels
    test = data.DeviceImages(*test_arrays, 500, transforms=[images.normalize])
    augmented = data.DeviceImages(*test_arrays, 500, transforms=[*AUGMENTATION, images.normalize])
    model = keras_dawn.models.WideResNet(10, 1)
    model.compile(
        SGD(FLAGS.max_lr, momentum=0.9, weight_decay=5e-4, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras_dawn.accelerate(model)
    cycle = OneCycle(FLAGS.max_lr)
    model.fit(train, epochs=FLAGS.epochs, callbacks=[cycle], verbose=0, shuffle=False)
    results = {
        "as they are": model.evaluate(test, return_dict=True, verbose=0),
        "flips": evaluate_tta(model, test),
        "shifts": evaluate_tta(model, test, views=Views(flip=False, shift=1)),
        "flips and shifts": evaluate_tta(model, test, views=Views(shift=1)),
        "fastai's blend of four": evaluate_tta(
            model, test, views=Views(flip=False), augmented=Augmented(augmented)
        ),
    }
    return {name: 100 * float(result["accuracy"]) for name, result in results.items()}


def main(arguments):
    images, reason = choose_dataset("cifar10", FLAGS.data_dir)
    images = images.subset(FLAGS.train_images, len(images.test_images))
    keras.config.set_dtype_policy(best_precision())
    runs = [accuracies(images, seed) for seed in range(FLAGS.seeds)]
    table = Table(title=f"CIFAR-10 test accuracy in percent, {counted(FLAGS.seeds, 'network')}")
    for column in ("views", "mean", "gain: mean", "least", "most"):
        table.add_column(column)
    for name in runs[0]:
        gains = [run[name] - run["as they are"] for run in runs]
        table.add_row(
            name,
            f"{statistics.mean(run[name] for run in runs):.2f}",
            *(f"{value:+.2f}" for value in (statistics.mean(gains), min(gains), max(gains))),
        )
    Console().print(table)
    if FLAGS.json:
        settings = {name: FLAGS[name].value for name in ("train_images", "epochs", "max_lr")}
        document = {**environment(), "data": reason, "settings": settings, "runs": runs}
        Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
