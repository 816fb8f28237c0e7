"""A folder like ImageNet's with synthetic photos: many, and next to nothing on the disk."""

import io
import os
import random
import tarfile

import numpy as np
from PIL import Image


def make_folders(folder, images, classes, validation_images, sides=(48, 80)):
    """Writes `train/`, `val/` and `tars/ILSVRC2012_img_train.tar` in `folder`.

    Args:
        folder: `Path`.
        images, classes: int, training photos in all, and their classes.
        validation_images: int.
        sides: `(least, most)`, pixels of a photo's width and height.
    """
    drawn, names = random.Random(0), [f"n{number:08d}" for number in range(classes)]
    for part, count in (("train", images), ("val", validation_images)):
        for number, name in enumerate(names):
            own = folder / part / name
            own.mkdir(parents=True)
            first = own / f"{name}_0.JPEG"
            first.write_bytes(photo(drawn, sides))
            for index in range(1, len(range(number, count, classes))):
                os.link(first, own / f"{name}_{index}.JPEG")
    (folder / "tars").mkdir()
    with tarfile.open(folder / "tars" / "ILSVRC2012_img_train.tar", "w") as outer:
        inner = {}
        for number, name in enumerate(names):
            count = len(range(number, images, classes))
            if count not in inner:  # the same photos in each class of this size
                inner[count] = _tar_of([photo(drawn, sides)] * count)
            member = tarfile.TarInfo(f"{name}.tar")
            member.size = len(inner[count])
            outer.addfile(member, io.BytesIO(inner[count]))


def photo(drawn, sides):
    """A JPEG file of some colours, with sides of `(least, most)` pixels."""
    size = drawn.randint(*sides), drawn.randint(*sides)
    colors = np.random.default_rng(drawn.randrange(1000)).integers(0, 256, (4, 4, 3), dtype="uint8")
    file = io.BytesIO()
    Image.fromarray(colors).resize(size).save(file, "JPEG", quality=70)
    return file.getvalue()


def _tar_of(photos):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for index, content in enumerate(photos):
            member = tarfile.TarInfo(f"photo_{index}.JPEG")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
