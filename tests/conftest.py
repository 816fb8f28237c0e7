import gc
import hashlib
import pickle

import keras_dawn  # noqa: F401  (chooses the backend before the tests import Keras)
from keras_dawn.foundation.keras_version import VERSION

import keras
import numpy as np
import pytest
import torch


def pytest_configure(config):
    # Two workers on two cores: more threads would only wait for each other. The same for a single
    # file, so that sums come in the same order.
    torch.set_num_threads(1)
    # For devices that are not there torch keeps every seed with the stack that set it, in case that
    # they are used later: three per cent of the suite's time, and more memory with every test.
    for device in (torch.cuda, torch.xpu, torch.mtia):
        if not device.is_available():
            device.manual_seed_all = lambda seed: None
    if torch.cuda.is_available():  # plain Keras shows it in every call of an LSTM or a GRU
        message = "ignore:RNN module weights are not part of single contiguous chunk:UserWarning"
        config.addinivalue_line("filterwarnings", message)
        # Keras's `clear_session` resets torch's compiler, which with a GPU (and torch 2.11) imports
        # a module of torch's own that is written in what torch no longer wants to be used.
        message = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
        config.addinivalue_line("filterwarnings", message)
    if VERSION >= (3, 16):  # it warns of its recurrent layers, which drop masks from there on
        config.addinivalue_line("filterwarnings", "ignore:.*does not support masking:UserWarning")


def pytest_collection_finish():
    """What is imported and collected lives to the end: the collector need not go through it again.

    It would some hundred times: a tenth of the suite's time.
    """
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers(config):
    """None for a single file, which starts twice as fast without: each imports Keras again."""
    files = {argument.partition("::")[0] for argument in config.args}
    single = len(files) == 1 and files.pop().endswith(".py")
    return 0 if single else 2


@pytest.fixture(autouse=True, scope="module")
def files_apart():
    """What is left of a file's tests lives to the end, too."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_keras_state():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


@pytest.fixture
def tiny_cifar10(tmp_path, monkeypatch):
    """A folder like the official one with 20 images a file, and the md5s to match."""
    from keras_dawn.data import cifar10_batches

    folder = tmp_path / "data" / cifar10_batches.FOLDER
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in cifar10_batches.BATCH_MD5:
        content = pickle.dumps(
            {
                "data": random.integers(0, 256, (20, 3072), dtype=np.uint8),
                "labels": [int(label) for label in random.integers(0, 10, 20)],
            }
        )
        (folder / name).write_bytes(content)
        monkeypatch.setitem(cifar10_batches.BATCH_MD5, name, hashlib.md5(content).hexdigest())
    return folder


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A home and working folder without any data set in them."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "KERAS_HOME", "TORCH_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def dense_model():
    """Builds and compiles a small classifier of vectors of 4 numbers in 3 classes."""

    def build(optimizer, **compile_arguments):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(
            optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **compile_arguments,
        )
        return model

    return build


@pytest.fixture
def points():
    """40 vectors of 4 numbers and their classes."""
    random = np.random.default_rng(0)
    return random.normal(size=(40, 4)).astype("float32"), random.integers(0, 3, 40)
