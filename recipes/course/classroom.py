"""What the lessons share: the images, the small network, the clock, and the numbers of a page.

Every lesson trains the same network on the same images, so that each idea can be seen to move the
same two numbers: the time to the target accuracy, and what that time costs.

A lesson is run in full by default. `COURSE_MODE=short` makes it a matter of seconds (its numbers
then say nothing and are not compared), `COURSE_MODE=strict` ends it with an error where a number is
not what the page states. `COURSE_SEED` sets the seed of order and weights, `COURSE_DATA` the folder
with CIFAR-10.
"""

import os
import statistics
from dataclasses import dataclass, field
from datetime import date

import keras_dawn
from keras_dawn import TimeToAccuracy, TrainingClock, data
from keras_dawn.data.cifar10 import load_cifar10
from keras_dawn.data.digits import load_digits
from keras_dawn.dawnbench import Price

import keras
import matplotlib

MODE = os.environ.get("COURSE_MODE", "full")
if MODE not in ("full", "short", "strict"):
    raise ValueError(f"COURSE_MODE must be full, short or strict, got {MODE!r}.")
SHORT = MODE == "short"
SEED = int(os.environ.get("COURSE_SEED", "0"))
TARGETS = {"digits": 95.0, "cifar10": 55.0}
PRICE = Price(
    0.12751,
    "on-demand",
    "pricing.json of apache-libcloud 3.9.1",
    date(2025, 3, 2),
    "AWS m7a.large, 2 CPU cores",
)
matplotlib.rcParams["figure.dpi"] = 160  # pictures large enough for slides


def load_images():
    """CIFAR-10's first 10,000 images where it is on this machine, otherwise 4,000 digits.

    In strict mode it is the digits, of which the pages state numbers, unless `COURSE_DATA` is set.
    Says which of them it is. Nothing is downloaded.

    Returns:
        `keras_dawn.data.image_set.ImageSet`.

    Raises:
        FileNotFoundError: `COURSE_DATA` names a folder without CIFAR-10.
    """
    folder = os.environ.get("COURSE_DATA")
    try:
        if MODE == "strict" and not folder:
            images = load_digits()
        else:
            images = load_cifar10(folder, download=False).subset(10_000, 2_000)
    except FileNotFoundError:
        if folder:
            raise
        images = load_digits()
    images = images.subset(192, 100) if SHORT else images
    print(f"{len(images.train_images):,} images to train on: {images.name}")
    return images


def pixels(images, batch_size=64, augmentation=(), **settings):
    """Training and test images as data for `fit`, on the device.

    Args:
        images: `ImageSet`. batch_size: int.
        augmentation: list of transforms of `keras_dawn.data`, for the training images.
        **settings: of the training images' `DeviceImages`.
    """
    return (
        data.DeviceImages(
            images.train_images,
            images.train_labels,
            batch_size,
            transforms=[*augmentation, images.normalize],
            sampler=data.Shuffled(SEED),
            **settings,
        ),
        data.DeviceImages(
            images.test_images, images.test_labels, 500, transforms=[images.normalize]
        ),
    )


def network(optimizer=None, size=32):
    """The small network of all lessons: WRN-10-1, 77,850 weights, compiled and accelerated.

    Args:
        optimizer: a Keras optimizer; SGD in torch's form with momentum 0.9 by default.
        size: int or `None`, pixels a side; `None` for images of any size.
    """
    keras.utils.set_random_seed(SEED)
    model = keras_dawn.models.WideResNet(10, 1, input_shape=(size, size, 3))
    model.compile(
        optimizer or keras_dawn.SGD(0.1, momentum=0.9, weight_decay=5e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras_dawn.accelerate(model)
    return model


@dataclass
class Run:
    """What one training came to.

    Args:
        name: str.
        epochs: list of `EpochRecord`: accuracy in percent, seconds on both clocks.
        history: dict of lists, Keras's.
        model: the trained model.
    """

    name: str
    epochs: list
    history: dict
    model: object = field(repr=False)

    @property
    def accuracy(self):
        """Percent of the test images, after the last epoch."""
        return self.epochs[-1].accuracy

    def seconds_to(self, target):
        """Training seconds until the first epoch at the target, or `None`."""
        return next((e.training_seconds for e in self.epochs if e.accuracy >= target), None)

    def epochs_to(self, target):
        """Epochs until the first one at the target, or `None`."""
        return next((e.epoch + 1 for e in self.epochs if e.accuracy >= target), None)


def train(name, model, training, test, epochs, *callbacks):
    """Trains by `fit` and keeps the clock; prints a line.

    Args:
        name: str. model: compiled model. training, test: of `pixels`.
        epochs: int; one in the short mode. *callbacks: Keras's or keras_dawn's.

    Returns:
        `Run`.
    """
    timer = TimeToAccuracy(99.9, clock=TrainingClock())
    history = model.fit(
        training,
        validation_data=test,
        epochs=1 if SHORT else epochs,
        callbacks=[timer, *callbacks],
        verbose=0,
        shuffle=False,  # the data shuffles itself
    ).history
    run = Run(name, timer.records, history, model)
    print(f"{name:32} {run.accuracy:5.1f} %  {timer.records[-1].training_seconds:6.1f} s")
    return run


def restate(images, *runs):
    """The two numbers of the course: time to the target accuracy and its cost, of each run."""
    target = TARGETS[images.name]
    print(f"Time to {target:g} % of the {images.name}, and its cost on {PRICE.machine}:")
    for run in runs:
        seconds = run.seconds_to(target)
        if seconds is None:
            print(f"  {run.name:30} not reached in {len(run.epochs)} epochs")
        else:
            print(
                f"  {run.name:30} {seconds:6.1f} s  (epoch {run.epochs_to(target)})   "
                f"USD {PRICE.cost(seconds):.6f}"
            )


def state(what, measured, stated, tolerance, images=None):
    """Compares a number with the one that the page states, and says so.

    Args:
        what: str. measured, stated, tolerance: floats.
        images: the `ImageSet` in use, where the number depends on it: pages state numbers of the
            built-in digits, which everybody has.

    Raises:
        ValueError: in strict mode, a number that is not as stated.
    """
    holds = abs(measured - stated) <= tolerance
    if SHORT:
        mark = "short mode, not compared"
    elif images is not None and images.name != "digits":
        mark, holds = "of the digits, not compared", True
    else:
        mark = "as stated" if holds else "NOT as stated"
    print(f"{what}: {measured:.3g} (this page: {stated:g} ± {tolerance:g}; {mark})")
    if MODE == "strict" and not holds:
        raise ValueError(f"{what}: {measured:.3g}, stated {stated:g} ± {tolerance:g}")


def seconds_each(function, rounds=5):
    """Median of the seconds that calling `function` takes, after one call that does not count."""
    clock = []
    function()
    for _ in range(1 if SHORT else rounds):
        start = TrainingClock()
        function()
        clock.append(start.wall_seconds())
    return statistics.median(clock)
