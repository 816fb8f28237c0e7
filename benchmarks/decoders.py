"""One photo to one crop, by decoder: what `keras_dawn.data.photos.jpeg` was chosen by.

    python benchmarks/decoders.py --photos=FOLDER

Every contestant makes the same random crops of the same files, one thread on one core, in turn.
The error is the mean absolute difference to Pillow's full decode and antialiased resize, of 255
levels. PyTurboJPEG takes part where libturbojpeg is installed.
"""

import contextlib
import io
import json
import os
import statistics
import time
import warnings
from pathlib import Path

from keras_dawn.data.photos.crops import RandomResizedCrop
from keras_dawn.data.photos.jpeg import decode_crop, snap, snap_scale
from keras_dawn.data.photos.photo import read_header
from keras_dawn.dawnbench.records import environment

import command_line
import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
import torchvision
from absl import flags
from jpeg_files import jpeg_files
from PIL import Image
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_string("photos", None, "folder with photos of full size", required=True)
flags.DEFINE_integer("rounds", 7, "rounds", lower_bound=1)
flags.DEFINE_string("json", None, "file to write the results to")


def pillow(data, box, size):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((size, size), Image.BILINEAR, box=edges(box)))


def pillow_draft(data, box, size):
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    scale = snap_scale(box, (size, size))
    image.draft("RGB", (-(-width // scale), -(-height // scale)))
    factors = (image.size[0] / width, image.size[1] / height) * 2
    scaled = tuple(edge * factor for edge, factor in zip(edges(box), factors, strict=True))
    return np.asarray(image.convert("RGB").resize((size, size), Image.BILINEAR, box=scaled))


def torchvision_io(data, box, size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated from 0.29
        image = torchvision.io.decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), torchvision.io.ImageReadMode.RGB
        )
    left, top, width, height = box
    return resize(image[:, top : top + height, left : left + width], size)


def simplejpeg_full(data, box, size):
    return cut_and_resize(simplejpeg.decode_jpeg(data, "RGB"), box, size)


def turbojpeg_full(turbo):
    return lambda data, box, size: cut_and_resize(turbo.decode(data, pixel_format=0), box, size)


def ours(data, box, size):
    return decode_crop(read_header(data), box, (size, size)).numpy()


def cut_and_resize(pixels, box, size):
    left, top, width, height = box
    part = torch.from_numpy(pixels)[top : top + height, left : left + width]
    return resize(part.permute(2, 0, 1), size)


def resize(image, size):
    image = F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)
    return image[0].permute(1, 2, 0).numpy()


def edges(box):
    left, top, width, height = box
    return left, top, left + width, top + height


def contestants():
    """Decoders by name."""
    found = {
        "Pillow": pillow,
        "Pillow, draft": pillow_draft,
        "torchvision.io + torch resize": torchvision_io,
        "simplejpeg + torch resize": simplejpeg_full,
        "keras_dawn: simplejpeg, scaled, cut off": ours,
    }
    with contextlib.suppress(ImportError, RuntimeError, OSError):
        from turbojpeg import TurboJPEG

        found["PyTurboJPEG + torch resize"] = turbojpeg_full(TurboJPEG())
    return found


def main(argv):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in jpeg_files(FLAGS.photos)]
    crop, random, results = RandomResizedCrop(), np.random.default_rng(0), {}
    headers = [read_header(data) for data in files]
    table = Table(title=f"{len(files)} photos: crops a second on one core (error)")
    table.add_column("decoder")
    rows = {name: [name] for name in contestants()}
    for size in (128, 224):
        table.add_column(f"{size} px")
        draws = random.random((len(files), crop.DRAWS))
        boxes = [
            crop.box(photo.width, photo.height, (size, size), numbers)
            for photo, numbers in zip(headers, draws, strict=True)
        ]
        boxes = [snap(box, snap_scale(box, (size, size))) for box in boxes]
        expected = [pillow(d, b, size).astype(int) for d, b in zip(files, boxes, strict=True)]
        seconds = {name: [] for name in contestants()}
        for _ in range(FLAGS.rounds):
            for name, decode in contestants().items():
                start = time.perf_counter()
                made = [decode(d, b, size) for d, b in zip(files, boxes, strict=True)]
                seconds[name].append(time.perf_counter() - start)
                results.setdefault(name, {}).setdefault(size, {})["error"] = float(
                    np.mean([np.abs(m - e).mean() for m, e in zip(made, expected, strict=True)])
                )
        for name, values in seconds.items():
            rate = len(files) / statistics.median(values)
            results[name][size]["crops_per_second"] = rate
            rows[name].append(f"{rate:,.0f} ({results[name][size]['error']:.2f})")
    for row in rows.values():
        table.add_row(*row)
    Console(width=100).print(table)
    if FLAGS.json:
        document = {**environment(), "rounds": FLAGS.rounds, "results": results}
        Path(FLAGS.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
