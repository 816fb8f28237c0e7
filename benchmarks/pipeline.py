"""Photos per second and core: from files to uint8 batches of random crops, ours and the peers.

    python benchmarks/pipeline.py --photos=FOLDER

FOLDER holds photos of full size (JPEG files, directly or in class folders). Copies of 160 and
352 px are made of them first (`keras_dawn.data.photos.prepare`). The process keeps to one core;
the contestants take turns, each making every crop once a round; the table shows medians of
photos a second, and of the ratios to torchvision's usual pipeline on the same files in the
same round. Files are in the page cache, batches are of 64, nothing is normalised.
"""

import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

from keras_dawn.data.photos import ImageFolder, RandomResizedCrop, ResizingImages, prepare
from keras_dawn.data.photos.jpeg import decode_crop, snap, snap_scale
from keras_dawn.data.photos.photo import read_header
from keras_dawn.dawnbench.records import environment

import command_line
import keras
import numpy as np
import torch
import torchvision
from absl import flags
from jpeg_files import jpeg_files
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.transforms import v2

FLAGS = flags.FLAGS
flags.DEFINE_string("photos", None, "folder with photos of full size", required=True)
flags.DEFINE_integer("rounds", 7, "rounds", lower_bound=1)
flags.DEFINE_string("json", None, "file to write the results to, anew after every case")

BATCH = 64


class Ours:
    """`ResizingImages` with one decoding thread, as the crops are decoded."""

    def __init__(self, source, size):
        self.data = ResizingImages(source, BATCH, image_size=size, threads=1, drop_last=False)
        self.data._transformed = lambda images, labels, *batch: (images, labels)

    def run(self):
        return sum(len(labels) for _, labels in self.data)


class Torchvision:
    """`ImageFolder`, `v2.RandomResizedCrop` and `DataLoader`, decoding in this process."""

    def __init__(self, folder, size):
        transform = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.PILToTensor()])
        data = torchvision.datasets.ImageFolder(folder, transform)
        self.loader = DataLoader(data, BATCH, shuffle=True)

    def run(self):
        return sum(len(labels) for _, labels in self.loader)


class KerasDirectory:
    """`keras.utils.image_dataset_from_directory`: whole photos at the size, no random crop."""

    def __init__(self, folder, size):
        self.data = keras.utils.image_dataset_from_directory(
            folder, image_size=(size, size), batch_size=BATCH, verbose=False, format="grain"
        )

    def run(self):
        return sum(len(labels) for _, labels in self.data)


class Dali:
    """NVIDIA DALI on the CPU: decodes the crop's region, then resizes.

    It makes no batches ahead, which it would do in the turn of the one after it.
    """

    def __init__(self, folder, size):
        from nvidia.dali import fn, pipeline_def, types

        turn = {"prefetch_queue_depth": 1, "exec_async": False, "exec_pipelined": False}

        @pipeline_def(batch_size=BATCH, num_threads=1, device_id=None, **turn)
        def build():
            files, labels = fn.readers.file(file_root=str(folder), random_shuffle=True, name="r")
            images = fn.decoders.image_random_crop(
                files, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
            )
            images = fn.resize(
                images, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=True
            )
            return images, labels

        self.pipeline = build()
        self.pipeline.build()
        self.batches = -(-self.pipeline.epoch_size("r") // BATCH)

    def run(self):
        return sum(len(self.pipeline.run()[1]) for _ in range(self.batches))


def compare(contestants):
    """Photos a second of each contestant in each round."""
    for one in contestants.values():
        one.run()
    rates = {name: [] for name in contestants}
    for _ in range(FLAGS.rounds):
        for name, one in contestants.items():
            start = time.perf_counter()
            count = one.run()
            rates[name].append(count / (time.perf_counter() - start))
    return rates


def error_of_crops(source, size):
    """Mean absolute difference to a full decode and Pillow's antialiased resize, 0 to 255."""
    crop, errors = RandomResizedCrop(), []
    draws = np.random.default_rng(0).random((len(source), crop.DRAWS))
    for index in range(len(source)):
        photo = read_header(source[index][0])
        box = crop.box(photo.width, photo.height, (size, size), draws[index])
        pixels = decode_crop(photo, box, (size, size))
        left, top, width, height = snap(box, snap_scale(box, (size, size)))
        whole = Image.open(source.folder / source.name(index)).convert("RGB")
        edges = (left, top, left + width, top + height)
        reference = whole.resize((size, size), Image.BILINEAR, box=edges)
        errors.append(np.abs(pixels.numpy().astype(int) - np.asarray(reference)).mean())
    return float(np.mean(errors))


def as_class_folder(photos, folder):
    """The photos ten times over in one class folder: a round is then long enough to time."""
    files = jpeg_files(photos)
    (folder / "photos").mkdir(parents=True)
    for repeat in range(max(1, 1000 // len(files))):
        for path in files:
            shutil.copy(path, folder / "photos" / f"{repeat}-{path.name}")
    return folder


def cases(folder):
    """`(title, size, contestants, whether the base is torchvision from the originals)`."""
    originals = as_class_folder(FLAGS.photos, folder / "originals")
    source = ImageFolder(originals)
    for size in (128, 224):
        found = {"torchvision": Torchvision(originals, size), "keras_dawn": Ours(source, size)}
        with contextlib.suppress(ImportError):
            found["DALI"] = Dali(originals, size)
        try:
            found["keras.utils"] = KerasDirectory(originals, size)
        except (ImportError, TypeError, ValueError) as error:
            print(f"keras.utils.image_dataset_from_directory does not run here: {error}")
        yield f"originals, {size} px", found, source, size
    for short_side, size in ((160, 128), (352, 224), (352, 288)):
        copies = prepare(source, folder / f"copies-{short_side}", short_side, processes=1)
        files = folder / f"files-{short_side}" / "photos"
        files.mkdir(parents=True, exist_ok=True)
        for index in range(len(copies)):
            (files / f"{index}.jpg").write_bytes(copies[index][0])
        small = ImageFolder(files.parent)
        found = {
            "torchvision": Torchvision(files.parent, size),
            "keras_dawn": Ours(copies, size),
            "torchvision, originals": Torchvision(originals, size),
        }
        with contextlib.suppress(ImportError):
            found["DALI"] = Dali(files.parent, size)
        yield f"{short_side} px copies, {size} px", found, small, size


def main(argv):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    about = {**environment(), **{name: metadata.version(name) for name in ("simplejpeg", "pillow")}}
    results = {}
    table = Table(title="photos a second on one core (ratio to torchvision on the same files)")
    names = ["torchvision", "keras_dawn", "DALI", "keras.utils", "torchvision, originals"]
    for column in ("case", *names, "mean error of ours"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        for title, contestants, source, size in cases(Path(folder)):
            rates = compare(contestants)
            base = rates["torchvision"]
            row, result = [title], {}
            for name in names:
                if name not in rates:
                    row.append("")
                    continue
                ratio = statistics.median(a / b for a, b in zip(rates[name], base, strict=True))
                rate = statistics.median(rates[name])
                result[name] = {"photos_per_second": rate, "ratio": ratio}
                row.append(f"{rate:,.0f} ({ratio:.2f})")
            result["mean_absolute_error"] = error_of_crops(source, size)
            results[title] = result
            table.add_row(*row, f"{result['mean_absolute_error']:.2f}")
            print(title, row[1:], flush=True)
            if FLAGS.json:
                document = {**about, "rounds": FLAGS.rounds, "results": results}
                text = json.dumps(document, indent=2) + "\n"
                Path(FLAGS.json).write_text(text, encoding="utf-8")
    Console(width=160).print(table)


if __name__ == "__main__":
    command_line.run(main)
