"""The part `validation` of `imagenet_rehearsal.py`: photos counted as a run's entry counts them.

The recipe's validation data goes through `fit_plan` on 8 ranks, and what `TimeToAccuracy` records
of `val_accuracy` and `val_top5` is compared. The answers differ from photo to photo: in epoch t a
photo's answer is right where bit t of its number is set. How many are right is known for each
epoch; a photo counted twice in another one's place changes it in those epochs in whose bits their
numbers differ.
"""

import sys
import time
from pathlib import Path

from absl import flags
from imagenet_rehearsal_parts import RANKS, check

FLAGS = flags.FLAGS
RECIPES = Path(__file__).parents[1] / "recipes"
BATCH, PIXELS = 256, 32
IMAGENET, LISTED = 50_000, 1_762  # photos, and those on the devkit's list
LEVELS, STEP = 37, 7  # of a colour channel: colours that a JPEG of one colour keeps apart


def validation(folder):
    """All photos; without a list of photos, in rectangles; with a last batch of three photos."""
    from keras_dawn.distributed import launch

    whole = FLAGS.validation_images
    listed = LISTED if whole == IMAGENET else whole // 28
    cases = {
        "all": (whole, range(0), False),
        "without_a_list": (whole, range(5, whole, whole // listed)[:listed], True),
        "three_in_the_last_batch": ((whole - 3) // BATCH * BATCH + 3, range(0), False),
    }
    begin = time.perf_counter()
    found = launch(_counts_of_a_rank, str(folder), cases, processes=RANKS)
    seconds = time.perf_counter() - begin
    checked = {name: _checked([one[name] for one in found], *cases[name]) for name in cases}
    return {**checked, "seconds": seconds}


def _checked(found, count, left_out, rectangular):
    """What the ranks found of a case, if each photo was counted once."""
    kept = set(range(1, count + 1)) - set(left_out)
    bits = count.bit_length()
    expected = [_right(kept, bit, bits) for bit in range(bits)]
    last = {"top1": expected[-1][0], "top5": expected[-1][1], "images": len(kept)}
    for one in found:
        check(one["fit"] == expected, f"fit counts {one['fit']}, there are {expected}")
        check(one["evaluated"] == last, f"counted {one['evaluated']}, there are {last}")
    times = {
        number: sum(one["read"][number - 1] for one in found) for number in range(1, count + 1)
    }
    # For rectangles every rank reads the headers of all photos first.
    once = {number: (bits + RANKS * rectangular) * (number in kept) for number in times}
    check(times == once, "photos are not read once an epoch each")
    return {
        "images": len(kept),
        "rectangular": rectangular,
        "epochs": bits,
        "right_and_right_among_five": expected,
    }


def _right(kept, bit, bits):
    """Of the photos with these numbers, how many answers are right, and right among five."""
    five = [number for number in kept if number >> bit & 1]
    return [sum(number >> (bit + 1) % bits & 1 for number in five), len(five)]


def _counts_of_a_rank(folder, cases):
    sys.path.insert(0, str(RECIPES))
    flags.DEFINE_integer("threads", 1, "decoding threads")
    FLAGS.mark_as_parsed()
    return {name: _count_of_a_rank(folder, *case) for name, case in cases.items()}


def _count_of_a_rank(folder, count, left_out, rectangular):
    from keras_dawn import TimeToAccuracy, fit_plan
    from keras_dawn.evaluation import evaluate_images
    from keras_dawn.plans import Phase, Validation

    import keras
    import numpy as np

    photos, told = _photos(folder, count, left_out)
    bits, images = count.bit_length(), len(photos.val("originals"))
    model = _network(told.labels, len(told.class_names), bits)
    phase = Phase(bits, PIXELS, BATCH, 0.0, validation=Validation(None, rectangular))
    data = photos.validation_data(phase, [])
    timer = TimeToAccuracy(100.0, top5="val_top5", target_on="top5")
    step = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.get_layer("answers").bit.assign(epoch)
    )
    black = np.zeros((RANKS, PIXELS, PIXELS, 3), "float32"), np.zeros(RANKS)
    fit_plan(model, [phase], black, validation_data=data, callbacks=[timer, step], verbose=0)
    read = told.read.tolist()
    found = evaluate_images(model, data)
    right = {name: round(found[name] * images) for name in ("top1", "top5")}
    records = [(one.accuracy, one.top5_accuracy) for one in timer.records]
    return {
        "fit": [[_count(percent, images) for percent in pair] for pair in records],
        "evaluated": {**right, "images": found["images"]},
        "read": read,
    }


def _count(percent, images):
    """The number of images that so many percent of them are."""
    exact = percent * images / 100
    check(abs(exact - round(exact)) < 0.1, f"{percent} % of {images} is no whole number")
    return round(exact)


def _photos(folder, count, left_out):
    """The recipe's photos, those to validate on in the colours of their numbers; and these."""
    from keras_dawn.data.photos import photos_of
    from keras_dawn.data.photos.photo_source import PhotoSource

    import imagenet_resnet50
    import numpy as np
    import simplejpeg

    from recipe_parts.photo_folder import Photos

    class Told(PhotoSource):
        """Photos of one colour each, which tells the number, in ImageNet's names."""

        def __init__(self, source):
            self.class_names, self.labels = source.class_names, source.labels[:count]
            self.read = np.zeros(count, np.int64)

        def __len__(self):
            return count

        def __getitem__(self, index):
            self.read[index] += 1
            number = index + 1
            color = [number // LEVELS**place % LEVELS * STEP for place in range(3)]
            pixels = np.full((40, 24 + 8 * (number % 7), 3), color, np.uint8)
            return simplejpeg.encode_jpeg(pixels, 98, colorsubsampling="444"), self.labels[index]

        def name(self, index):
            return f"ILSVRC2012_val_{index + 1:08d}.JPEG"

    told = Told(photos_of(folder, "val"))

    class ToldPhotos(Photos):
        def _source(self, part, kind, count):
            return told if part == "val" else super()._source(part, kind, count)

    preset = imagenet_resnet50.PRESETS["fastai_8gpu"]
    return ToldPhotos(folder, preset, frozenset(left_out)), told


def _network(labels, classes, bits):
    """Reads the number off a photo; `bit` says which answers are right. Metrics as the recipe's."""
    from keras_dawn import SGD, accelerate
    from keras_dawn.data.transforms import IMAGENET_MEAN, IMAGENET_STD

    import keras
    from keras import ops

    class Answers(keras.layers.Layer):
        """The right class first, fourth or sixth, as bits of the photo's number say."""

        def build(self, shape):
            self.right = self.add_weight(
                shape=(len(labels) + 1,), initializer="zeros", dtype="int64", trainable=False
            )
            self.bit = self.add_weight(
                shape=(), initializer="zeros", dtype="int64", trainable=False
            )
            self.scale = self.add_weight(shape=(), initializer="ones")  # something to train

        def call(self, x):
            color = ops.mean(x, (1, 2)) * ops.array(IMAGENET_STD) + ops.array(IMAGENET_MEAN)
            places = ops.cast(ops.round(255 * color / STEP), "int64")
            number = ops.sum(places * ops.array([1, LEVELS, LEVELS**2], "int64"), -1)
            bit, other = ((number >> b) & 1 for b in (self.bit, (self.bit + 1) % bits))
            rank = ops.where(bit == 1, ops.where(other == 1, 0, 3), 5)
            number = ops.minimum(number, len(labels))  # what is trained on has none
            first = ops.take(self.right, number) - rank
            # `rank` classes come before the right one.
            order = (ops.arange(classes, dtype="int64")[None] - first[:, None]) % classes
            return -self.scale * ops.cast(order, "float32")

    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, Answers(name="answers")(inputs))
    answers = model.get_layer("answers")
    answers.right.assign([0, *labels])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    top5 = keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5")
    model.compile(SGD(0.1), loss, metrics=["accuracy", top5])
    return accelerate(model)
