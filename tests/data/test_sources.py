import contextlib
import functools
import hashlib
import http.server
import pickle
import sys
import tarfile
import threading
from types import SimpleNamespace

from keras_dawn.data import choose, cifar10, cifar10_batches, cifar10_builder
from keras_dawn.data.choose import choose_dataset
from keras_dawn.data.cifar10_download import download_batches
from keras_dawn.data.digits import load_digits
from keras_dawn.data.image_set import ImageSet
from keras_dawn.data.transforms import Normalize

import numpy as np
import pytest


def assert_same_images(first, second):
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


class TestOfficialBatches:
    def test_pixels_and_labels_are_where_the_format_has_them(self, tiny_cifar10):
        images = cifar10.load_cifar10(tiny_cifar10)
        assert images.train_images.shape == (100, 32, 32, 3)
        assert images.test_images.shape == (20, 32, 32, 3)
        raw = pickle.loads((tiny_cifar10 / "data_batch_2").read_bytes())
        # red, then green, then blue, each row by row
        assert images.train_images[21, 5, 6, 1] == raw["data"][1, 1024 + 5 * 32 + 6]
        assert images.train_labels[20:40].tolist() == raw["labels"]

    def test_the_folder_around_them_will_do(self, tiny_cifar10):
        assert_same_images(
            cifar10.load_cifar10(tiny_cifar10.parent), cifar10.load_cifar10(tiny_cifar10)
        )

    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no folder"):
            cifar10.load_cifar10(tmp_path / "nowhere")

    def test_a_folder_that_is_not_cifar10_is_described(self, tmp_path):
        (tmp_path / "holiday.jpg").touch()
        with pytest.raises(FileNotFoundError, match=r"does not hold CIFAR-10.*holiday\.jpg"):
            cifar10.load_cifar10(tmp_path)

    def test_a_missing_batch_is_named(self, tiny_cifar10):
        (tiny_cifar10 / "data_batch_3").unlink()
        with pytest.raises(FileNotFoundError, match=r"data_batch_3 is missing"):
            cifar10.load_cifar10(tiny_cifar10)

    @pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:-1] + b"!"])
    def test_a_damaged_batch_is_refused_before_it_is_unpickled(
        self, tiny_cifar10, damage, monkeypatch
    ):
        path = tiny_cifar10 / "test_batch"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ValueError, match=r"test_batch is truncated or altered: its md5"):
            cifar10.load_cifar10(tiny_cifar10)


class TestCaches:
    @pytest.mark.parametrize("place", range(6))
    def test_other_libraries_folders_are_found(self, tiny_cifar10, empty_home, place):
        folder = cifar10_batches.known_folders()[place]
        folder.parent.mkdir(parents=True, exist_ok=True)
        tiny_cifar10.rename(folder)
        images = cifar10.load_cifar10(download=False)
        assert images.source == str(folder) and len(images.train_images) == 100

    def test_a_damaged_cache_is_passed_over_with_a_warning(self, tiny_cifar10, empty_home):
        folder = cifar10_batches.known_folders()[0]
        folder.mkdir(parents=True)
        (folder / "data_batch_1").write_bytes(b"half a file")
        good = cifar10_batches.known_folders()[2]
        good.parent.mkdir()
        tiny_cifar10.rename(good)
        with pytest.warns(UserWarning, match="is not used.*truncated"):
            assert cifar10.load_cifar10(download=False).source == str(good)

    def test_nothing_on_disk_says_where_it_looked(self, empty_home):
        with pytest.raises(FileNotFoundError, match=r"Looked in: .*\.?keras|Looked in"):
            cifar10.load_cifar10(download=False)


@pytest.fixture
def server(tiny_cifar10, tmp_path):
    """Serves the archive from this machine; gives its address and md5."""
    site = tmp_path / "site"
    site.mkdir()
    archive = site / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tiny_cifar10, arcname=cifar10_batches.FOLDER)
    handler = functools.partial(QuietHandler, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "url": f"http://127.0.0.1:{server.server_port}/{archive.name}",
        "archive_md5": hashlib.md5(archive.read_bytes()).hexdigest(),
    }
    server.shutdown()
    server.server_close()


class TestBuilder:
    def test_download_prepare_and_read_without_tensorflow(self, server, tiny_cifar10, empty_home):
        images = cifar10_builder.download_and_read(**server)
        assert_same_images(images, cifar10_batches.read_batches(tiny_cifar10))
        # the second time: from array_record, and from the batches left by the download
        assert_same_images(cifar10_builder.read_prepared(), images)
        assert_same_images(cifar10.load_cifar10(download=False), images)
        assert "tensorflow" not in sys.modules

    def test_the_builder_has_the_stock_builders_features(self, tiny_cifar10, tmp_path):
        builder = cifar10_builder.Cifar10Batches(
            batches_dir=tiny_cifar10, data_dir=tmp_path / "tfds", file_format="array_record"
        )
        builder.download_and_prepare()
        source = builder.as_data_source(split="test")
        assert len(source) == 20
        assert source[0]["image"].shape == (32, 32, 3) and source[0]["image"].dtype == np.uint8
        assert set(builder.info.features) == {"id", "image", "label"}
        assert builder.info.features["label"].names[3] == "cat"

    def test_an_altered_download_is_refused_and_removed(self, server, empty_home):
        server["archive_md5"] = "0" * 32
        for _ in range(2):  # the bad file must not come out of a cache the second time
            with pytest.raises(ValueError, match="truncated or altered"):
                cifar10_builder.download_and_read(**server)
        assert not list(empty_home.rglob("*.tar.gz"))

    def test_an_unreachable_server_fails_at_once(self, empty_home):
        with pytest.raises(ConnectionError, match=r"cannot be downloaded from http://127"):
            cifar10_builder.download_and_read(url="http://127.0.0.1:9/cifar.tar.gz")


class TestWithoutArrayRecord:
    """As on Windows: the official batches are kept as they are."""

    @pytest.fixture(autouse=True)
    def none(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "array_record", None)

    def test_the_batches_are_downloaded_and_found_again(
        self, server, tiny_cifar10, empty_home, monkeypatch
    ):
        monkeypatch.setattr(cifar10, "download_batches", lambda: download_batches(**server))
        images = cifar10.load_cifar10()
        assert_same_images(images, cifar10_batches.read_batches(tiny_cifar10))
        assert_same_images(cifar10.load_cifar10(download=False), images)
        assert not list(empty_home.parent.glob("home/**/*.tar.gz"))

    def test_an_altered_download_is_refused_and_removed(self, server, empty_home):
        with pytest.raises(ValueError, match="truncated or altered"):
            download_batches(**{**server, "archive_md5": "0" * 32})
        assert not list(empty_home.parent.glob("home/**/*.tar.gz"))

    def test_an_unreachable_server_is_named(self, empty_home):
        with pytest.raises(ConnectionError, match=r"cannot be downloaded from http://127"):
            download_batches(url="http://127.0.0.1:9/cifar.tar.gz")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class TestDigits:
    def test_real_digits_in_the_format_of_cifar10(self):
        digits = load_digits()
        assert digits.train_images.shape == (4000, 32, 32, 3)
        assert digits.train_images.dtype == np.uint8
        assert np.bincount(digits.train_labels).tolist() == [400] * 10
        assert np.bincount(digits.test_labels).tolist() == [100] * 10
        assert not digits.train_images[:, :2].any() and not digits.train_images[:, :, 30:].any()
        # a nearest-class-mean rule does well on real digits and would not on noise
        flat = digits.train_images[..., 0].reshape(4000, -1).astype(float)
        means = np.stack([flat[digits.train_labels == d].mean(0) for d in range(10)])
        test = digits.test_images[..., 0].reshape(1000, -1).astype(float)
        guesses = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
        assert (guesses == digits.test_labels).mean() > 0.75

    def test_train_and_test_share_no_digit(self):
        digits = load_digits()
        train = {image.tobytes() for image in digits.train_images}
        assert not any(image.tobytes() in train for image in digits.test_images)


class TestChoice:
    def test_auto_takes_cifar10_where_it_is(self, tiny_cifar10, empty_home):
        (empty_home / "data").mkdir()
        tiny_cifar10.rename(empty_home / "data" / cifar10_batches.FOLDER)
        images, reason = choose_dataset("auto")
        assert images.name == "cifar10" and "CIFAR-10 from data" in reason

    def test_auto_falls_back_to_the_digits_and_says_why(self, empty_home, monkeypatch):
        unreachable(monkeypatch)
        images, reason = choose_dataset("auto")
        assert images.name == "digits"
        assert "cannot be downloaded" in reason and "no CIFAR-10 result" in reason

    def test_cifar10_never_falls_back(self, empty_home, monkeypatch):
        unreachable(monkeypatch)
        with pytest.raises(ConnectionError):
            choose_dataset("cifar10")

    def test_a_folder_that_was_given_is_never_passed_over(self, empty_home):
        with pytest.raises(FileNotFoundError):
            choose_dataset("auto", empty_home / "nowhere")

    def test_a_download_takes_place_in_a_context_of_its_own(self, monkeypatch):
        on_disk, inside, loads = [], [], []

        def load(download=True):
            if not (on_disk or download):
                raise FileNotFoundError("CIFAR-10 is not on this machine.")
            loads.append(bool(inside))
            on_disk.append(True)
            return SimpleNamespace(source="here")

        @contextlib.contextmanager
        def downloading():
            inside.append(True)
            yield
            inside.clear()

        monkeypatch.setattr(choose, "load_cifar10", load)
        for _ in range(2):
            choose_dataset("cifar10", downloading=downloading)
        assert loads == [True, False, False]  # what is read afterwards, and again, is not in it

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match=r"one of auto, cifar10, digits, got 'mnist'"):
            choose_dataset("mnist")


def unreachable(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("CIFAR-10 cannot be downloaded from there: no network")

    monkeypatch.setattr(cifar10_builder, "_check_reachable", fail)


class TestImageSet:
    def make(self, labels, count=3):
        images = np.zeros((count, 2, 2, 3), np.uint8)
        return ImageSet("set", "here", images, np.array(labels), images, np.arange(count),
                        ("a", "b", "c"), Normalize(0.5, 0.5))  # fmt: skip

    @pytest.mark.parametrize("labels", [[0, 1, 3], [-1, 0, 1]])
    def test_labels_out_of_range_are_refused(self, labels):
        with pytest.raises(ValueError, match="train labels run from"):
            self.make(labels)

    def test_as_many_labels_as_images(self):
        with pytest.raises(ValueError, match="3 train images and 2 labels"):
            self.make([0, 1])

    def test_fingerprint_changes_with_any_label(self):
        assert self.make([0, 1, 2]).fingerprint() == self.make([0, 1, 2]).fingerprint()
        assert self.make([0, 1, 2]).fingerprint() != self.make([0, 2, 1]).fingerprint()
