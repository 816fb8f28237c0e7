"""The parts of `imagenet_rehearsal.py` about photos: from their folder to what was found."""

import contextlib
import ctypes
import os
import time
from pathlib import Path

from absl import flags

FLAGS = flags.FLAGS
RANKS = 8
BATCH = 8 * 192  # of all ranks together, as in the entry
FEW = 64


def resident_mib():
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def held_mib():
    """Memory that this process holds on to, in MiB: what it has freed is given back before.

    glibc keeps what is freed for later, more or less of it by chance: some 50 to 200 MiB between
    two steps of a training whose memory in use stays as it is. Elsewhere as `resident_mib`.
    """
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return resident_mib()


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


def tree_8(folder):
    """The folder of folders, by all ranks at once."""
    return _starts(folder)


def tar_8(folder):
    """The tar file of tar files, by all ranks at once."""
    return _starts(folder / "tars")


def _starts(folder):
    """`start` of 8 ranks, with the seconds from the launch to the last one's first batch."""
    from keras_dawn.distributed import launch

    begin = time.time()
    found = launch(_start_of_a_rank, str(folder), processes=RANKS)
    return {
        "seconds_to_the_last_first_batch": max(one["at"] for one in found) - begin,
        # imports and joining the job included
        "processor_seconds_of_each": [one["processor"] for one in found],
        "index_mib_of_each": [one["index_mib"] for one in found],
        "process_mib_of_each": [one["process_mib"] for one in found],
        "photos": found[0]["photos"],
    }


def _start_of_a_rank(folder):
    found = start(Path(folder))
    return {**found, "at": time.time(), "processor": time.process_time()}


def order(folder):
    """Two epochs as 8 ranks see them."""
    from keras_dawn.data import Shuffled
    from keras_dawn.distributed.sharding import Share

    import torch

    sampler = Shuffled(1)
    begin = time.perf_counter()
    whole = sampler.order(FLAGS.images, 3)
    seconds = time.perf_counter() - begin
    seen = torch.zeros(FLAGS.images, dtype=torch.int64)
    for rank in range(RANKS):
        share, own = Share(rank, RANKS), Shuffled(1).order(FLAGS.images, 3)
        for first, stop in share.batches(FLAGS.images, BATCH, True, True):
            seen[share.of(own[first:stop])] += 1
    served = FLAGS.images // BATCH * BATCH
    left = whole[served:]
    check(int(seen.sum()) == served and int(seen.max()) == 1, "a photo is served twice")
    check(not seen[left].any(), "what is left over is served")
    check(not torch.equal(whole, sampler.order(FLAGS.images, 4)), "epochs have one order")
    return {"seconds_to_draw": seconds, "served_once": served, "left_over": len(left)}


def epoch(folder):
    """An epoch of all ranks, trained on: memory of each, and how often each photo is served."""
    from keras_dawn.distributed import launch

    import numpy as np

    begin = time.time()
    found = launch(_epoch_of_a_rank, str(folder), FLAGS.epoch_images, processes=FLAGS.ranks)
    growth = [one["held_mib"][-1] - one["held_mib"][0] for one in found]
    served = np.sum([one.pop("served") for one in found], axis=0, dtype=np.int64)
    whole = min(FLAGS.epoch_images, FLAGS.images) // BATCH * BATCH
    settled = whole >= 20 * BATCH  # the first steps of a training take their memory
    mib = [one["held_mib"] for one in found]
    grew = f"memory grows over an epoch by {growth} MiB; after each tenth: {mib}"
    check(not settled or max(growth) < 32, grew)
    once = int(served.max()) == 1 and int(served.sum()) == whole
    check(once, "photos are not served once each")
    return {
        "ranks": found,
        "growth_mib_from_first_tenth_to_last": growth,
        "served_once": whole,
        "left_over": int((served == 0).sum()),
        "seconds_to_the_last_first_batch": max(one.pop("at") for one in found) - begin,
    }


def _epoch_of_a_rank(folder, count):
    from keras_dawn import SGD, accelerate
    from keras_dawn.data.photos import ResizingImages, photos_of
    from keras_dawn.foundation.precision import best_precision
    from keras_dawn.models import ResNet

    import keras
    import numpy as np

    source = _counted(photos_of(folder, "train"), count)
    made = ResizingImages(source, BATCH, image_size=32, threads=1)
    keras.config.set_dtype_policy(best_precision())
    model = ResNet(18, classes=len(source.class_names), zero_init_gamma=True)
    optimizer = SGD(0.1, momentum=0.9, weight_decay=1e-4)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    held, resident, at = [], [], []
    tenths = [len(made) * tenth // 10 for tenth in range(1, 11)]

    def begin_batch(number, logs):
        if not number:
            at.append((time.time(), time.perf_counter(), time.process_time()))

    def end_batch(number, logs):
        resident.append(resident_mib())
        if number + 1 in tenths:
            held.extend([held_mib()] * tenths.count(number + 1))

    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=begin_batch, on_train_batch_end=end_batch
    )
    accelerate(model)
    # A model's first `fit` takes its first batches twice: Keras looks at them to build the metrics.
    few = np.zeros((FEW, 32, 32, 3), "float32"), np.zeros(FEW)
    model.fit(*few, batch_size=FEW, verbose=0)
    model.fit(made, callbacks=[note], verbose=0, shuffle=False)
    parts = [part.tolist() for part in np.array_split(resident, 10) if len(part)]
    return {
        "photos": int(source.served.sum()),
        "held_mib": held,
        "least_resident_mib": [min(part) for part in parts],
        "most_resident_mib": [max(part) for part in parts],
        "seconds": {
            "clock": time.perf_counter() - at[0][1],
            "processor": time.process_time() - at[0][2],
        },
        "served": source.served,
        "at": at[0][0],
    }


def _counted(source, count):
    """The first photos of a source, with `served`: how often each has been read."""
    from keras_dawn.data.photos.photo_source import Subset

    import numpy as np

    class Counted(Subset):
        """Counts how often each photo is read: those of a class are links to one file here."""

        def __getitem__(self, index):
            self.served[index] += 1
            return super().__getitem__(index)

    found = Counted(source, range(min(count, len(source))))
    found.served = np.zeros(len(found), np.uint8)
    return found


def check(is_right, message):
    if not is_right:
        raise AssertionError(message)
