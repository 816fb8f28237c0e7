from keras_dawn.data.photos import ImageFolder

import numpy as np
import pytest
import simplejpeg
from pictures import smooth


@pytest.fixture
def photo_folder(tmp_path):
    """Training and validation folders with 3 classes of photos of different sizes."""
    random = np.random.default_rng(1)
    for part, count in (("train", 8), ("val", 3)):
        for label in range(3):
            folder = tmp_path / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(40, 120, 2)
                pixels = smooth(int(height), int(width), 10 * label + number)
                (folder / f"{number}.JPEG").write_bytes(
                    simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 90)
                )
    return tmp_path


@pytest.fixture
def train(photo_folder):
    return ImageFolder(photo_folder / "train")


@pytest.fixture
def val(photo_folder, train):
    return ImageFolder(photo_folder / "val", train.class_names)


@pytest.fixture
def table(photo_folder, train):
    """A CSV file with a number, a word and tags for each photo."""
    lines = ["image,number,word,tags"]
    for index, name in enumerate(train.names()):
        tags = ["red", "red;blue", "", "green"][index % 4]
        lines.append(f"train/{name},{[2, 10, 1][index % 3]},{'cba'[index % 3]},{tags}")
    path = photo_folder / "labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
