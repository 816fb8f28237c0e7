"""The parts of `imagenet_rehearsal.py`: from the folder of photos to what was found."""

import os
import time
from pathlib import Path

import numpy as np
from absl import flags

FLAGS = flags.FLAGS
RANKS = 8


def resident_mib():
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def start(folder):
    """From the first import to the first batch of 192 photos at 128 px."""
    begin = last = (time.perf_counter(), time.process_time())
    seconds = {}

    def lap(name):
        nonlocal last
        now = (time.perf_counter(), time.process_time())
        seconds[name] = {"clock": now[0] - last[0], "processor": now[1] - last[1]}
        last = now

    from keras_dawn.data.photos import ResizingImages, photos_of

    lap("imports")
    before = resident_mib()
    source = photos_of(folder, "train")
    lap("index")
    index_mib = resident_mib() - before
    next(iter(ResizingImages(source, 192, image_size=128)))
    lap("first batch")
    seconds["all"] = {"clock": last[0] - begin[0], "processor": last[1] - begin[1]}
    return {
        "photos": len(source),
        "classes": len(source.class_names),
        "seconds": seconds,
        "index_mib": index_mib,
        "process_mib": resident_mib(),
    }


def tree(folder):
    """The folder of folders."""
    return start(folder)


def tar(folder):
    """The tar file of tar files."""
    return start(folder / "tars")


def order(folder):
    """Two epochs as 8 ranks see them."""
    from keras_dawn.data import Shuffled
    from keras_dawn.distributed.sharding import Share

    import torch

    sampler, batch = Shuffled(1), 8 * 192
    begin = time.perf_counter()
    whole = sampler.order(FLAGS.images, 3)
    seconds = time.perf_counter() - begin
    seen = torch.zeros(FLAGS.images, dtype=torch.int64)
    for rank in range(RANKS):
        share, own = Share(rank, RANKS), Shuffled(1).order(FLAGS.images, 3)
        for first, stop in share.batches(FLAGS.images, batch, True, True):
            seen[share.of(own[first:stop])] += 1
    served = FLAGS.images // batch * batch
    left = whole[served:]
    _check(int(seen.sum()) == served and int(seen.max()) == 1, "a photo is served twice")
    _check(not seen[left].any(), "what is left over is served")
    _check(not torch.equal(whole, sampler.order(FLAGS.images, 4)), "epochs have one order")
    return {"seconds_to_draw": seconds, "served_once": served, "left_over": len(left)}


def epoch(folder):
    """Memory over an epoch, of each rank."""
    from keras_dawn.distributed import launch

    found = launch(_epoch_of_a_rank, str(folder), FLAGS.epoch_images, processes=FLAGS.ranks)
    growth = [one["mib"][-1] - one["mib"][1] for one in found]
    _check(max(growth) < 64, f"memory grows over an epoch by {growth} MiB")
    return {"ranks": found, "growth_mib_from_first_tenth": growth}


def _epoch_of_a_rank(folder, count):
    from keras_dawn.data.photos import ResizingImages, photos_of
    from keras_dawn.distributed import current
    from keras_dawn.distributed.sharding import Share

    source = photos_of(folder, "train")
    source = source if count >= len(source) else source.subset(range(count))
    made = ResizingImages(source, 1536, image_size=32, threads=1)
    made.set_share(Share(current().rank, current().world_size), training=True)
    begin, mib, served = time.perf_counter(), [resident_mib()], 0
    tenths = [len(made) * tenth // 10 for tenth in range(1, 11)]
    for number, (images, _) in enumerate(made, 1):
        served += len(images)
        mib += [resident_mib()] * tenths.count(number)
    return {"photos": served, "mib": mib, "seconds": time.perf_counter() - begin}


def validation(folder):
    """A network that always says 0, 1, 2, 3, 4, …, over all validation photos and 8 ranks."""
    from keras_dawn.distributed import launch

    found = launch(_validation_of_a_rank, str(folder), processes=RANKS)
    each = FLAGS.validation_images / FLAGS.classes
    expected = {"images": FLAGS.validation_images, "top1": each, "top5": 5 * each}
    counted = {name: found[0][name] for name in expected}
    _check(all(one == found[0] for one in found), f"ranks differ: {found}")
    _check(counted == expected, f"counted {counted}, there are {expected}")
    return counted


def _validation_of_a_rank(folder):
    from keras_dawn.data.photos import ValidationImages, photos_of
    from keras_dawn.evaluation import evaluate_images

    import keras
    import numpy as np

    source = photos_of(folder, "val")
    classes = len(source.class_names)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    model.layers[-1].set_weights([np.zeros((3, classes)), -np.arange(classes)])
    found = evaluate_images(model, ValidationImages(source, 256, image_size=32, threads=1))
    images = found["images"]
    return {name: round(found[name] * images, 6) for name in ("top1", "top5")} | {"images": images}


def phases(folder):
    """The entry's plan on a 64th of its GPUs: batches of 24 and 16, 20 steps an epoch."""
    from keras_dawn import PLANS, fit_plan
    from keras_dawn.data.photos import ResizingImages, photos_of
    from keras_dawn.optimizers import SGD

    import keras

    plan = PLANS["fastai_8gpu"].scaled(1 / 64)
    source = photos_of(folder, "val")
    seen, steps = [], 20

    def make(phase):
        return ResizingImages(
            source.subset(range(0, steps * phase.batch_size)),
            phase.batch_size,
            image_size=phase.image_size,
        )

    class Note(keras.layers.Layer):
        """Notes the shape of each batch."""

        def call(self, x):
            if not x.is_meta:
                seen.append(tuple(x.shape[:2]))
            return x

    inputs = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(16)(Note()(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(len(source.class_names))(x))
    model.compile(SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rates = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    begin = time.perf_counter()
    seen.clear()
    fit_plan(model, plan, make, callbacks=[note], verbose=0)
    expected = [
        (phase.batch_size, phase.image_size, phase.learning_rate)
        for phase in map(plan.phase_at, range(plan.epochs))
        for _ in range(steps)
    ]
    _check([one[:2] for one in expected] == seen, "batches are not those of the plan")
    _check(np.allclose([one[2] for one in expected], rates), "rates are not those of the plan")
    return {"epochs": plan.epochs, "steps": len(seen), "seconds": time.perf_counter() - begin}


def _check(is_right, message):
    if not is_right:
        raise AssertionError(message)
