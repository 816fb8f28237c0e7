"""Data on its way to a GPU, and what a GPU cannot compute; on a processor."""

import keras_dawn
from keras_dawn.native import host_arrays
from keras_dawn.native.host_arrays import HostArray, on_the_way

import keras
import numpy as np
import pytest
from keras import layers

from tests.on_device import torch


@pytest.fixture
def to_gpus(monkeypatch):
    """Arrays go the way to a GPU, which is the processor here; how many batches went it."""
    went = []

    def moved(tensor, device):
        assert device.type == "cuda" and type(tensor) is torch.Tensor
        went.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(host_arrays, "moved", moved)
    monkeypatch.setattr(
        "keras_dawn.native.engine.on_the_way",
        lambda model, name, arguments, device: on_the_way(model, name, arguments, "cuda"),
    )
    return went


def model():
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras_dawn.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return net


RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(50, 4)), RANDOM.integers(0, 3, 50)  # float64: Keras makes it float32
WAYS = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "validation_split": {"validation_split": 0.3},
    "validation_data": {"validation_data": (X[:10], Y[:10])},
    "sample_weight": {"sample_weight": np.linspace(0, 1, 50)},
    "class_weight": {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "batches shuffled": {"shuffle": "batch"},
}


@pytest.mark.parametrize("way", WAYS)
def test_arrays_on_their_way_to_a_gpu_train_as_in_plain_keras(way, to_gpus):
    plain, native = model(), keras_dawn.accelerate(model())
    keras.utils.set_random_seed(1)
    expected = plain.fit(X, Y, batch_size=16, epochs=2, verbose=0, **WAYS[way]).history
    assert not to_gpus
    keras.utils.set_random_seed(1)
    found = native.fit(X, Y, batch_size=16, epochs=2, verbose=0, **WAYS[way]).history
    assert to_gpus
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, abs=1e-6)
    for a, b in zip(native.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    before = len(to_gpus)
    np.testing.assert_allclose(native.predict(X, verbose=0), plain.predict(X, verbose=0), atol=1e-6)
    assert native.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0))
    assert len(to_gpus) > before


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int16", "int64", "bool", "float16"]
)
def test_rows_have_the_dtype_that_keras_gives_them(dtype, to_gpus):
    array = np.arange(6).astype(dtype)
    rows = on_the_way(model(), "fit", {"x": array}, "cuda")["x"][[1, 3]]
    rows = keras.ops.convert_to_tensor(rows)
    assert rows.dtype == keras.ops.convert_to_tensor(array).dtype and rows.tolist()[0] == 1


def test_only_the_rows_of_a_batch_become_a_tensor():
    arguments = on_the_way(model(), "fit", {"x": X, "y": [Y, Y], "epochs": 3}, "cuda")
    array = arguments["x"]
    assert type(array) is HostArray and array.device.type == "cuda"
    assert arguments["epochs"] == 3 and all(type(y) is HostArray for y in arguments["y"])
    for part in (array[:10], array[:10][2:4], array.astype("float32")):
        assert type(part) is HostArray and part.device == array.device
    np.testing.assert_array_equal(array[3], X[3])
    np.testing.assert_array_equal(array[np.array([3, 1])], X[[3, 1]])
    assert np.shares_memory(array, X)  # nothing is copied but batches


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.array([None, 1]), X.astype(">f8")])
def test_arrays_that_torch_has_no_dtype_for_stay_as_they_are(array):
    assert on_the_way(model(), "fit", {"x": array}, "cuda")["x"] is array


def test_a_fit_of_the_models_own_gets_its_arrays_as_they_are():
    class Own(keras.Model):
        def fit(self, x):
            return x

    assert on_the_way(Own(), "fit", {"x": X}, "cuda")["x"] is X


def test_nothing_changes_on_a_processor():
    assert on_the_way(model(), "fit", {"x": X}, "cpu")["x"] is X


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_batch_normalisation_has_no_beta_without_a_gamma(scale, center, monkeypatch):
    """On CUDA torch fails in the backward pass of a beta where there is no gamma."""
    seen = []
    plain = torch.native_batch_norm

    def native_batch_norm(x, gamma, beta, *rest):
        seen.append((gamma, beta))
        return plain(x, gamma, beta, *rest)

    monkeypatch.setattr(torch, "native_batch_norm", native_batch_norm)
    net = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.BatchNormalization(scale=scale, center=center),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    net.compile("sgd", "mse")
    keras_dawn.accelerate(net)
    net.fit(np.ones((4, 8, 8, 3)), np.ones((4, 3)), verbose=0)
    ((gamma, beta),) = seen
    assert (beta is not None) == center
    assert beta is None or gamma is not None
    if center and not scale:
        assert torch.equal(gamma, torch.ones(3)) and not gamma.requires_grad
