"""CIFAR-10's official Python batches as lossless pictures, and back, byte for byte.

    python benchmarks/packed_images.py PACKED FOLDER       # the official files again

A batch is a pickle in which the pixels lie as they are, in one run of bytes. They become a picture
of 100 × 100 images (lossless WebP); what is before and after them is kept as it is, compressed.
So nothing here knows the pickle's format, and the md5 of what comes out is the md5 of what went in.
Needs NumPy and Pillow alone.
"""

import hashlib
import json
import lzma
import pickle
import sys
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = "cifar-10-batches-py"
NAMES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
SIDE, CHANNELS, A_ROW = 32, 3, 100  # pixels, colours, images in a row of the picture at most


def pack_batches(data_dir, out):
    """Packs the six official files.

    Args:
        data_dir: folder with them, or with their folder.
        out: new folder for the pictures.

    Raises:
        FileNotFoundError: not all six files are there.
        ValueError: a file without such a run of pixels.
    """
    source = next(
        (f for f in (Path(data_dir), Path(data_dir) / FOLDER) if (f / NAMES[0]).exists()), None
    )
    if source is None:
        raise FileNotFoundError(f"{data_dir} holds neither {NAMES[0]} nor a folder {FOLDER}.")
    out = Path(out)
    out.mkdir(parents=True)
    for name in NAMES:
        content = (source / name).read_bytes()
        start, count = find_pixels(content)
        images = count // (SIDE * SIDE * CHANNELS)
        row = min(images, A_ROW)
        picture = to_picture(content[start : start + count], row)
        Image.fromarray(picture).save(out / f"{name}.webp", lossless=True, quality=50, method=3)
        rest = content[:start] + content[start + count :]
        (out / f"{name}.rest.xz").write_bytes(lzma.compress(rest))
        about = {"start": start, "row": row, "md5": hashlib.md5(content).hexdigest()}
        (out / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")


def find_pixels(content):
    """`(first byte, bytes)` of the pixels in a pickle: the array's data, as it is written there."""
    pixels = pickle.loads(content, encoding="latin1")["data"]
    raw = np.ascontiguousarray(pixels).tobytes()
    start = content.find(raw)
    if start < 0 or (len(pixels) > A_ROW and len(pixels) % A_ROW):
        raise ValueError(
            "The pixels do not lie in the file as they are, or not in whole rows of a picture: "
            "expected one of CIFAR-10's official Python batches."
        )
    return start, len(raw)


def to_picture(raw, row):
    """uint8 `(rows · 32, row · 32, 3)` of images that are stored colour by colour."""
    images = np.frombuffer(raw, np.uint8).reshape(-1, row, CHANNELS, SIDE, SIDE)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 4, 2)).reshape(-1, row * SIDE, CHANNELS)


def to_raw(picture, row):
    """The bytes that `to_picture` was given."""
    images = picture.reshape(-1, SIDE, row, SIDE, CHANNELS)
    return np.ascontiguousarray(images.transpose(0, 2, 4, 1, 3)).tobytes()


def unpack_batches(packed, out):
    """Makes the official files again in the folder `out`, and checks each one's md5.

    Raises:
        ValueError: a file that is not what was packed.
    """
    packed, out = Path(packed), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        about = json.loads((packed / f"{name}.json").read_text(encoding="utf-8"))
        rest = lzma.decompress((packed / f"{name}.rest.xz").read_bytes())
        with Image.open(packed / f"{name}.webp") as picture:
            raw = to_raw(np.asarray(picture.convert("RGB")), about["row"])
        content = rest[: about["start"]] + raw + rest[about["start"] :]
        if hashlib.md5(content).hexdigest() != about["md5"]:
            raise ValueError(f"{name} is not the file that was packed: copy the parts again.")
        (out / name).write_bytes(content)
        print(f"{name}: as it was", flush=True)


if __name__ == "__main__":
    unpack_batches(*sys.argv[1:3])
