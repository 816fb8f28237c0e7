"""Decodes batches in threads of its own, some batches ahead of the training."""

import collections
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from keras_dawn.data.photos.jpeg import UnreadablePhotoError, decode_crop, read_header

import torch


class Job:
    """One batch to be made.

    Args:
        indices: list of int, places in the source.
        size: `(height, width)` in pixels.
        crop: an object with `box` and `DRAWS` (`RandomResizedCrop`, `CenterCrop`).
        draws: float tensor `(batch, crop.DRAWS)`, uniform in [0, 1).
    """

    def __init__(self, indices, size, crop, draws):
        self.indices, self.size, self.crop, self.draws = indices, size, crop, draws


class Loader:
    """Turns jobs into batches on a device.

    Args:
        source: `source[i]` is `(bytes, class number)`.
        threads: int, decoding threads.
        ahead: int, batches in the making at a time.
        device: torch device that the batches go to.

    Attributes:
        problems: dict from an image's place to what is wrong with its file. A file that
            cannot be read at all becomes a grey image.
    """

    def __init__(self, source, threads, ahead, device):
        self.source, self.threads, self.ahead = source, threads, ahead
        self.device = torch.device(device)
        self.problems = {}
        self._pool = None
        self._lock = threading.Lock()

    def batches(self, jobs):
        """uint8 `(batch, height, width, 3)` and int64 `(batch,)` for each job, on the device."""
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
                yield self._finish(*waiting.popleft())
        finally:  # also when the training stops in the middle of an epoch
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _start(self, job):
        count, pinned = len(job.indices), self.device.type == "cuda"
        images = torch.empty((count, *job.size, 3), dtype=torch.uint8, pin_memory=pinned)
        labels = torch.empty(count, dtype=torch.int64, pin_memory=pinned)
        draws = job.draws.tolist()
        # Several parts a thread: photos differ in size, and a batch waits for its last one.
        parts = min(count, 4 * self.threads)
        futures = [
            self._pool.submit(self._fill, job, draws, range(part, count, parts), images, labels)
            for part in range(parts)
        ]
        return images, labels, futures

    def _fill(self, job, draws, places, images, labels):
        for place in places:
            index = job.indices[place]
            data, labels[place] = self._read(index)
            try:
                photo = read_header(data)
                box = job.crop.box(photo.width, photo.height, job.size, draws[place])
                pixels, problem = decode_crop(photo, box, job.size)
                images[place].copy_(pixels)
            except UnreadablePhotoError as error:
                images[place].fill_(128)
                problem = f"{error}; shown as grey"
            if problem is not None:
                with self._lock:
                    self.problems[index] = problem

    def _read(self, index):
        try:
            return self.source[index]
        except OSError as error:  # a disk or a bucket that is gone, not a damaged photo
            raise OSError(
                f"Photo number {index} cannot be read: {error}. Bring the data back "
                "and start again; a training with ResumeTraining goes on from its checkpoint."
            ) from error

    def _finish(self, images, labels, futures):
        for future in futures:
            future.result()
        if self.device.type != "cuda":
            return images, labels
        return self._to_gpu(images, labels)

    def _to_gpu(self, images, labels):
        """Copies on a stream of its own, which the training's stream then waits for."""
        stream = self._copy_stream()
        with torch.cuda.stream(stream):
            moved = [t.to(self.device, non_blocking=True) for t in (images, labels)]
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(stream)
        for tensor in moved:  # or the allocator would reuse it while the training still reads
            tensor.record_stream(current)
        return tuple(moved)

    def _copy_stream(self):
        if not hasattr(self, "_stream"):
            self._stream = torch.cuda.Stream(self.device)
        return self._stream


def default_threads():
    """As many decoding threads as this process may use cores, shared among its neighbours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def default_device():
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
