"""CIFAR-10 as a tensorflow-datasets builder that needs no TensorFlow."""

import tarfile
import urllib.request
from pathlib import Path

from keras_dawn.data import cifar10_batches
from keras_dawn.data.image_set import ImageSet
from keras_dawn.data.transforms import Normalize

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class Cifar10Batches(tfds.core.GeneratorBasedBuilder):
    """Downloads the official Python batches, checks them, and writes array_record files.

    The stock `cifar10` builder prepares with TensorFlow only. This one has the same
    features (`id`, `image`, `label`) and splits, and is read with `as_data_source`:

        builder = Cifar10Batches(file_format="array_record")
        builder.download_and_prepare()
        source = builder.as_data_source(split="train")      # source[0]["image"], ["label"]

    Args:
        batches_dir: folder with the official batches; they are downloaded without it.
        url: where to download from.
        archive_md5: md5 that the downloaded file must have.
        **kwargs: `data_dir`, `file_format` and the other arguments of tfds builders.
    """

    VERSION = tfds.core.Version("3.0.2")
    RELEASE_NOTES = {"3.0.2": "The version number of the stock cifar10 builder."}

    def __init__(
        self,
        *,
        batches_dir=None,
        url=cifar10_batches.URL,
        archive_md5=cifar10_batches.ARCHIVE_MD5,
        **kwargs,
    ):
        self._batches_dir = batches_dir
        self._url = url
        self._archive_md5 = archive_md5
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="60,000 colour images of 32 × 32 pixels in 10 classes.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(names=list(cifar10_batches.CLASS_NAMES)),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        )

    def _split_generators(self, dl_manager):
        folder = self._batches_dir or self._download(dl_manager)
        data = cifar10_batches.read_batches(folder)
        return {
            "train": self._generate_examples("train", data.train_images, data.train_labels),
            "test": self._generate_examples("test", data.test_images, data.test_labels),
        }

    def _download(self, dl_manager):
        _check_reachable(self._url)
        archive = Path(dl_manager.download(self._url))
        try:
            cifar10_batches.check_md5(archive.read_bytes(), self._archive_md5, archive)
        except ValueError:
            archive.unlink()  # or tfds would take the bad file from its cache for ever
            raise
        with tarfile.open(archive) as tar:
            # The filter refuses paths that lead out of the folder.
            tar.extractall(archive.parent, filter="data")
        return archive.parent / cifar10_batches.FOLDER

    def _generate_examples(self, split, images, labels):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            key = f"{split}_{number:05d}"
            # A PIL image: tfds encodes arrays with TensorFlow.
            yield key, {"id": key, "image": Image.fromarray(image), "label": int(label)}


def _check_reachable(url, timeout_seconds=15):
    """Fails at once where tfds would try again for minutes."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=timeout_seconds).close()
    except OSError as error:
        raise ConnectionError(f"CIFAR-10 cannot be downloaded from {url}: {error}") from error


def download_and_read(**kwargs):
    """Prepares the array_record files and returns the `ImageSet` they hold."""
    builder = _builder(**kwargs)
    builder.download_and_prepare()
    return _read(builder)


def read_prepared(**kwargs):
    """The `ImageSet` of files prepared earlier, or `None` if there are none."""
    builder = _builder(**kwargs)
    return _read(builder) if builder.is_prepared() else None


def _builder(**kwargs):
    return Cifar10Batches(
        **{"file_format": "array_record", "data_dir": cifar10_batches.tfds_home(), **kwargs}
    )


def _read(builder):
    parts = {}
    for split in ("train", "test"):
        # tfds stores examples in an order of its own; their ids bring the official one back.
        examples = sorted(builder.as_data_source(split=split), key=lambda example: example["id"])
        parts[f"{split}_images"] = np.stack([example["image"] for example in examples])
        parts[f"{split}_labels"] = np.array([example["label"] for example in examples], np.int64)
    return ImageSet(
        name="cifar10",
        source=str(builder.data_dir),
        class_names=cifar10_batches.CLASS_NAMES,
        normalize=Normalize(cifar10_batches.MEAN, cifar10_batches.STD),
        **parts,
    )
