"""Photos at 128 px on a GPU: decoding, training, and whether the copies hide behind the steps."""

import os
import tempfile
from pathlib import Path

from keras_dawn.data.photos import ImageFolder, ResizingImages

import gpu_steps
import keras
import numpy as np
from absl import flags
from gpu_contestants import Ours, now
from PIL import Image

FLAGS = flags.FLAGS


def run(cases):
    """Rates of the loader alone, of steps on a batch that lies there, and of `fit` on photos."""
    name = "photos of the folder" if FLAGS.photos_dir else "photos made up, short side 160"
    if not cases.is_missing(name):
        return
    with tempfile.TemporaryDirectory() as made:
        folder = FLAGS.photos_dir or made_up(Path(made), 4 if FLAGS.tiny else 6144)
        cases.keep(name, compared(folder))


def made_up(folder, count):
    """JPEG files of smooth noise, 160 × 213 pixels, as long to decode as real ones."""
    random = np.random.default_rng(0)
    for number in range(count):
        (folder / str(number % 10)).mkdir(exist_ok=True)
        small = random.integers(0, 256, (20, 27, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((213, 160), Image.BICUBIC)
        picture.save(folder / str(number % 10) / f"{number}.jpg", quality=90)
    return folder


class Epochs(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = now()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(now() - self._began)


def compared(folder):
    """Images a second of each, and the rate together over the slower of the two alone."""
    case = gpu_steps.main_pairs()[0] if FLAGS.tiny else gpu_steps.resnet(128, "mixed_float16")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    photos = ResizingImages(ImageFolder(folder), case.count, image_size=case.size, threads=threads)
    one = Ours(case.ours, case.policy)
    batch, steps = next(iter(photos)), len(photos)
    epochs = Epochs()
    # Threads start in the first epoch, the files come into the system's cache, a graph is made.
    one.model.fit(photos, epochs=2, shuffle=False, verbose=0, callbacks=[epochs])
    began = now()
    for _ in photos:
        pass
    seconds = {
        "decoding": now() - began,
        "steps on one batch": one.turn(batch, steps),
        "fit on photos": epochs.seconds[-1],
    }
    rates = {name: steps * case.count / value for name, value in seconds.items()}
    slower = min(rates["decoding"], rates["steps on one batch"])
    return {
        **{f"{name}, images/s": value for name, value in rates.items()},
        "fit over the slower alone": rates["fit on photos"] / slower,
        "threads": threads,
    }
