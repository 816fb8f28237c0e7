"""Fine-tuning beside training from scratch and a frozen base, at equal time.

    python benchmarks/fine_tuning.py --data_dir=FOLDER --json=FILE

A small wide residual network learns CIFAR-10's first five classes; then the last five are learnt
from 50 images a class. `fine_tune` has a number of epochs; the two others get as many as take the
same processor time (found by trials before): a head on the frozen base, and the whole network from
new weights. Each is trained at every rate of a list, on every seed (which draws the 50 images, the
new weights and the order); its own best rate is the one with the best mean accuracy on 200 other
training images a class, and what is reported is the accuracy there on the test images of the five
classes. All three have the same crops and flips, optimizer and one-cycle shape.
"""

import json
import statistics
import time
from pathlib import Path

import keras_dawn
from keras_dawn import OneCycle, data
from keras_dawn.data.choose import choose_dataset
from keras_dawn.dawnbench.records import environment
from keras_dawn.foundation.counted import counted

import command_line
import keras
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
flags.DEFINE_integer("images", 50, "images a class to fine-tune with", lower_bound=1)
flags.DEFINE_integer("pretraining_epochs", 4, "epochs on the first five classes", lower_bound=1)
flags.DEFINE_integer("epochs", 15, "of all layers in fine_tune, after one of the head")
flags.DEFINE_list("rates", ["0.003", "0.01", "0.03", "0.1"], "highest rates to choose from")
flags.DEFINE_integer("seeds", 3, "trainings of each", lower_bound=1)
flags.DEFINE_integer("depth", 10, "of the network")
flags.DEFINE_integer("width", 1, "of the network")
flags.DEFINE_string("json", None, "file to write the results to")

HELD_OUT = 200  # training images a class that choose the rate
SETTINGS = ("images", "pretraining_epochs", "epochs", "rates", "seeds", "depth", "width")
WAYS = ("fine_tune", "frozen base", "from scratch")


class Images:
    """Five classes of CIFAR-10, numbered from 0.

    Args:
        images: `ImageSet`.
        classes: range of five labels.
    """

    def __init__(self, images, classes):
        self.normalize, self.first = images.normalize, classes.start
        self.train = self._of(images.train_images, images.train_labels, classes)
        self.test = self._of(images.test_images, images.test_labels, classes)

    def _of(self, images, labels, classes):
        chosen = np.isin(labels, list(classes))
        return images[chosen], labels[chosen] - self.first

    def few(self, count, seed):
        """`count` training images a class, and `HELD_OUT` others."""
        images, labels = self.train
        random = np.random.default_rng(seed)
        orders = [random.permutation(np.flatnonzero(labels == label)) for label in range(5)]
        parts = (slice(0, count), slice(count, count + HELD_OUT))
        places = [np.concatenate([order[part] for order in orders]) for part in parts]
        return [(images[place], labels[place]) for place in places]

    def training(self, arrays, batch_size, seed):
        """Arrays with random crops and flips."""
        transforms = [data.PadCrop(4), data.RandomFlip(), self.normalize]
        return data.DeviceImages(
            *arrays, batch_size, transforms=transforms, sampler=data.Shuffled(seed)
        )

    def accuracy(self, model, arrays):
        """Accuracy in percent."""
        images = data.DeviceImages(*arrays, 500, transforms=[self.normalize])
        return 100 * float(model.evaluate(images, verbose=0, return_dict=True)["accuracy"])


def network(rate, weights=None):
    """A compiled network of five classes; with pretrained weights, but for its head's."""
    model = keras_dawn.models.WideResNet(FLAGS.depth, FLAGS.width, classes=5)
    if weights is not None:
        kept = len(model.layers[-1].weights)
        new = model.get_weights()[-kept:]
        model.set_weights([*weights[:-kept], *new])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model)


def pretrain(images):
    """Weights after the first five classes, their test accuracy and the processor time."""
    keras.utils.set_random_seed(0)
    model, begun = network(0.01), time.process_time()
    training = images.training(images.train, 128, 0)
    cycle = OneCycle(0.01)
    model.fit(
        training, epochs=FLAGS.pretraining_epochs, callbacks=[cycle], verbose=0, shuffle=False
    )
    seconds = time.process_time() - begun
    return model.get_weights(), images.accuracy(model, images.test), seconds


def train(way, rate, epochs, weights, training):
    """A network trained in one of the three ways."""
    model = network(rate, None if way == "from scratch" else weights)
    if way == "fine_tune":
        keras_dawn.fine_tune(model, training, epochs=epochs - 1, verbose=0, shuffle=False)
        return model
    for layer in model.layers[:-1]:
        layer.trainable = way == "from scratch"
    if way == "frozen base":  # a new optimizer, of the head alone
        optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01)
        model.compile(optimizer, model.loss, metrics=["accuracy"])
        keras_dawn.accelerate(model)
    model.fit(training, epochs=epochs, callbacks=[OneCycle(rate)], verbose=0, shuffle=False)
    return model


def epochs_of_equal_time(weights, images):
    """Epochs of each way that take the processor time of `fine_tune`'s, found by three trials."""
    (few, _), ours = images.few(FLAGS.images, 0), WAYS[0]
    training, epochs = images.training(few, 25, 0), dict.fromkeys(WAYS, FLAGS.epochs + 1)
    for _ in range(3):
        seconds = {}
        for way in WAYS:
            begun = time.process_time()
            train(way, 1e-3, epochs[way], weights, training)
            seconds[way] = time.process_time() - begun
        for way in WAYS[1:]:
            epochs[way] = max(1, round(epochs[way] * seconds[ours] / seconds[way]))
    return epochs


def compare(weights, images, epochs):
    """One dict a training: way, rate, seed, seconds, accuracies."""
    runs = []
    for seed in range(FLAGS.seeds):
        few, held_out = images.few(FLAGS.images, seed)
        for rate in map(float, FLAGS.rates):
            for way in WAYS:
                keras.utils.set_random_seed(seed)
                begun = time.process_time()
                model = train(way, rate, epochs[way], weights, images.training(few, 25, seed))
                run = {"way": way, "rate": rate, "seed": seed}
                run["processor_seconds"] = round(time.process_time() - begun, 2)
                run["held_out"] = images.accuracy(model, held_out)
                run["test"] = images.accuracy(model, images.test)
                runs.append(run)
    return runs


def best_of(runs, way):
    """The runs of a way at its own best rate."""

    def held_out(rate):
        return statistics.mean(r["held_out"] for r in own if r["rate"] == rate)

    own = [run for run in runs if run["way"] == way]
    rate = max({run["rate"] for run in own}, key=held_out)
    return [run for run in own if run["rate"] == rate]


def table_of(runs, epochs):
    """One line a way."""
    images, seeds = counted(FLAGS.images, "image"), counted(FLAGS.seeds, "seed")
    table = Table(title=f"{images} a class, {seeds}")
    for column in ("", "epochs", "best rate", "processor time", "test accuracy", "spread"):
        table.add_column(column)
    for way in WAYS:
        best = best_of(runs, way)
        accuracies = [run["test"] for run in best]
        table.add_row(
            way,
            str(epochs[way]),
            f"{best[0]['rate']:g}",
            f"{statistics.mean(run['processor_seconds'] for run in best):.1f} s",
            f"{statistics.mean(accuracies):.2f} %",
            f"{statistics.stdev(accuracies) if len(accuracies) > 1 else 0:.2f}",
        )
    return table


def main(argv):
    everything, _ = choose_dataset("cifar10", FLAGS.data_dir)
    weights, accuracy, seconds = pretrain(Images(everything, range(5)))
    Console().print(
        f"pretrained in {seconds:.0f} s of processor time: {accuracy:.2f} % of five classes"
    )
    images = Images(everything, range(5, 10))
    epochs = epochs_of_equal_time(weights, images)
    runs = compare(weights, images, epochs)
    Console().print(table_of(runs, epochs))
    if FLAGS.json:
        document = {
            **environment(),
            "settings": {name: FLAGS[name].value for name in SETTINGS},
            "pretrained": {"accuracy": accuracy, "processor_seconds": seconds},
            "epochs": epochs,
            "best": {way: best_of(runs, way) for way in WAYS},
            "runs": runs,
        }
        Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
