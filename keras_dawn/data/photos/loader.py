"""Decodes batches in threads of its own, some batches ahead of the training."""

import collections
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from keras_dawn.data.photos.jpeg import decode_crop
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.problems import Problems
from keras_dawn.data.photos.unreadable import UnreadablePhotoError

import numpy as np
import torch

_GREY = 128


@dataclass(frozen=True)
class Job:
    """One batch to be made.

    Args:
        indices: list of int, places in the source.
        size: `(height, width)` in pixels.
        crop: an object with `box` and `DRAWS` (`RandomResizedCrop`, `CenterCrop`).
        draws: float tensor `(batch, crop.DRAWS)`, uniform in [0, 1).
    """

    indices: list
    size: tuple
    crop: object
    draws: torch.Tensor


@dataclass
class Made:
    """A batch in the making, or made.

    Args:
        images: uint8 `(batch, height, width, 3)`.
        labels: int64 `(batch,)`, or float32 `(batch, classes)` of a source of such labels.
        places: int64 `(batch,)` in the job's indices, those that were read; `None` for all.
    """

    images: torch.Tensor
    labels: object
    places: torch.Tensor | None = None


class Loader:
    """Turns jobs into batches on a device.

    Args:
        source: `source[i]` is `(bytes, label)`.
        threads: int, decoding threads.
        ahead: int, batches in the making at a time.
        device: torch device that the batches go to.

    Attributes:
        problems: `Problems`, the files that cannot be read.
    """

    def __init__(self, source, threads, ahead, device):
        self.source, self.threads, self.ahead = source, threads, ahead
        self.device = torch.device(device)
        self.problems = Problems(source)
        self._pool = None
        self._lock = threading.Lock()

    def batches(self, jobs, may_be_empty=False):
        """`Made` for each job, on the device.

        Args:
            jobs: iterable of `Job`.
            may_be_empty: bool, whether a batch of which nothing can be read comes without photos.

        Raises:
            UnreadablePhotoError: a batch of which nothing can be read, where it may not be empty,
                or more unreadable files than the source allows.
            OSError: a source that is gone.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="keras_dawn-decode")
        waiting = collections.deque()
        jobs = iter(jobs)
        try:
            while True:
                while len(waiting) < self.ahead:
                    job = next(jobs, None)
                    if job is None:
                        break
                    waiting.append(self._start(job))
                if not waiting:
                    return
                yield self._finish(*waiting.popleft(), may_be_empty)
        finally:  # also when the training stops in the middle of an epoch
            for *_, futures in waiting:
                for future in futures:
                    future.cancel()

    def _start(self, job):
        count = len(job.indices)
        images = torch.empty(
            (count, *job.size, 3), dtype=torch.uint8, pin_memory=self.device.type == "cuda"
        )
        labels, draws = [None] * count, job.draws.tolist()
        # Several parts a thread: photos differ in size, and a batch waits for its last one.
        parts = min(count, 4 * self.threads)
        futures = [
            self._pool.submit(self._fill, job, draws, range(part, count, parts), images, labels)
            for part in range(parts)
        ]
        return job, Made(images, labels), futures

    def _fill(self, job, draws, places, images, labels):
        """Decodes some photos of a job; returns the places of those that cannot be read."""
        failed = []
        for place in places:
            index = job.indices[place]
            data, labels[place] = self._read(index)
            try:
                photo = read_header(data)
                box = job.crop.box(photo.width, photo.height, job.size, draws[place])
                # Straight into the batch: no list of photos is stacked afterwards.
                images[place].copy_(decode_crop(photo, box, job.size))
            except UnreadablePhotoError as error:
                images[place].fill_(_GREY)
                failed.append(place)
                with self._lock:
                    self.problems.add(index, str(error))
            except Exception as error:  # whatever it is: it must name the file
                raise RuntimeError(f"{self.source.name(index)} cannot be decoded.") from error
        return failed

    def _read(self, index):
        try:
            return self.source[index]
        except OSError as error:  # a disk or a bucket that is gone, not a damaged photo
            raise OSError(
                f"Photo number {index} cannot be read: {error}. Bring the data back "
                "and start again; a training with ResumeTraining goes on from its checkpoint."
            ) from error

    def _finish(self, job, made, futures, may_be_empty):
        # An exception in a thread is raised here, in the training's.
        failed = [place for future in futures for place in future.result()]
        labels = torch.as_tensor(np.asarray(made.labels))
        made.labels = labels if labels.is_floating_point() else labels.to(torch.int64)
        if failed and self.problems.left_out:
            self._leave_out(job, made, failed, may_be_empty)
        if self.device.type == "cuda" and len(made.images):
            self._to_gpu(made)
        return made

    def _leave_out(self, job, made, failed, may_be_empty):
        kept = np.setdiff1d(np.arange(len(job.indices)), failed)
        if not (len(kept) or may_be_empty):
            raise UnreadablePhotoError(
                f"None of the {len(job.indices)} photos of a batch can be read: "
                f"{self.problems.listed(job.indices)}. Take them out of the source "
                "(`source.without(names)`), or choose a larger batch."
            )
        made.places = torch.from_numpy(kept)
        made.images, made.labels = made.images[made.places], made.labels[made.places]

    def _to_gpu(self, made):
        """Copies on a stream of its own, which the training's stream then waits for."""
        stream = self._copy_stream()
        with torch.cuda.stream(stream):
            made.images, made.labels = (
                tensor.to(self.device, non_blocking=True)
                for tensor in (made.images, made.labels.pin_memory())
            )
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(stream)
        for tensor in (made.images, made.labels):  # or the allocator would reuse it too early
            tensor.record_stream(current)

    def _copy_stream(self):
        if not hasattr(self, "_stream"):
            self._stream = torch.cuda.Stream(self.device)
        return self._stream


def default_threads():
    """As many decoding threads as this process may use cores, shared among its neighbours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
