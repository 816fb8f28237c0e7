"""Which device Keras is kept off, and what a model does there that was asked for by name."""

import os
import subprocess
import sys

import keras_dawn
from keras_dawn.foundation import device, keras_variables

import keras
import numpy as np
import pytest
import torch


@pytest.fixture
def machine(monkeypatch):
    """Pretends that Keras is not imported yet, and that torch sees such devices."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delenv("KERAS_TORCH_DEVICE", raising=False)

    def sees(*kinds):
        for kind, where in (("mps", torch.backends.mps), ("cuda", torch.cuda), ("xpu", torch.xpu)):
            monkeypatch.setattr(where, "is_available", lambda kind=kind: kind in kinds)

    return sees


@pytest.mark.parametrize("kinds", [("mps",), ("xpu",)])
def test_a_device_that_is_not_proved_is_passed_over_and_one_line_says_so(machine, kinds, capsys):
    machine(*kinds)
    device.choose_device()
    assert os.environ["KERAS_TORCH_DEVICE"] == "cpu"
    (line,) = capsys.readouterr().err.splitlines()
    assert "computes on the CPU" in line and f"KERAS_TORCH_DEVICE={kinds[0]}" in line
    device.choose_device()  # in a process that it starts
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kinds", [(), ("cuda",), ("cuda", "xpu")])
def test_where_keras_takes_a_gpu_or_the_cpu_nothing_is_done(machine, kinds, capsys):
    machine(*kinds)
    device.choose_device()
    assert "KERAS_TORCH_DEVICE" not in os.environ and capsys.readouterr().err == ""


def test_a_device_that_is_asked_for_by_name_is_left(machine, monkeypatch, capsys):
    machine("mps")
    monkeypatch.setenv("KERAS_TORCH_DEVICE", "mps")
    device.choose_device()
    assert os.environ["KERAS_TORCH_DEVICE"] == "mps" and capsys.readouterr().err == ""


@pytest.mark.slow
def test_keras_then_computes_on_the_cpu():
    code = (
        "import functools, torch; torch.backends.mps.is_available = functools.cache(lambda: True)\n"
        "import keras_dawn, keras; print(keras.ops.zeros(()).device)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_TORCH_DEVICE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment
    )
    assert done.stdout.strip() == "cpu", done.stderr
    assert "computes on the CPU" in done.stderr


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        return super().train_step(data)


@pytest.mark.parametrize("own", [False, True])
def test_on_such_a_device_a_model_steps_in_plain_keras(own, points, monkeypatch, capsys):
    here = keras.ops.zeros(()).device.type  # it stands for one that is not proved
    monkeypatch.setattr(device, "PROVED", tuple({"cpu", "cuda"} - {here}))
    plain, ours = make(own), make(own)
    keras_dawn.accelerate(ours)
    assert losses_of(plain, points) == losses_of(ours, points)
    reason = f"weights lie on {here}, where native steps are not proved"
    assert reason in str(keras_dawn.explain(ours))
    assert not keras_dawn.explain(ours).native
    assert f"in plain Keras: its weights lie on {here}" in capsys.readouterr().err
    answers = [model.predict(points[0], verbose=0) for model in (plain, ours)]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("own", [False, True])
def test_a_model_whose_weights_torch_cast_steps_in_plain_keras_until_they_are_cast_back(
    own, points
):
    plain, ours = make(own), make(own)
    keras_dawn.accelerate(ours)
    for dtype in (None, torch.float64, torch.float32):
        if dtype is not None:
            plain.to(dtype), ours.to(dtype)
        np.testing.assert_allclose(losses_of(ours, points), losses_of(plain, points), rtol=1e-5)
        answers = [model.predict(points[0], verbose=0) for model in (ours, plain)]
        assert answers[0].dtype == answers[1].dtype
        np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-6)
        assert keras_dawn.explain(ours).native is (dtype is not torch.float64)
    assert "torch cast" not in str(keras_dawn.explain(ours))


def test_a_model_without_weights_computes_where_keras_does():
    with_weights, without = (
        keras.Sequential([keras.Input((2,)), layer])
        for layer in (keras.layers.Dense(2), keras.layers.Flatten())
    )
    with keras.device("meta"):  # it stands for a GPU
        assert keras_variables.device_of(without).type == "meta"
        assert keras_variables.device_of(with_weights) == with_weights.weights[0].value.device


class OtherOrder(keras.Sequential):
    """Its variables come in another order than its layers."""

    @property
    def variables(self):
        return super().variables[::-1]


@pytest.mark.parametrize("first", ["dense", "dropout", "nested", "own order"])
def test_a_model_is_where_the_first_of_its_variables_is(first):
    far, near = keras.layers.Dense(2), keras.layers.Dense(2)
    with keras.device("meta"):  # it stands for a GPU
        far.build((None, 2))
    flatten, dropout = keras.layers.Flatten(), keras.layers.Dropout(0.5, seed=1)
    inner = keras.Sequential([keras.Input((2,)), flatten, far if first == "nested" else dropout])
    before = {"dense": [far], "dropout": [dropout, far], "nested": [inner], "own order": [near]}
    after = [far] if first == "own order" else [near]
    kind = OtherOrder if first == "own order" else keras.Sequential
    model = kind([keras.Input((2,)), *before[first], *after])
    expected = model.variables[0].value.device
    assert keras_variables.device_of(model) == expected
    assert expected.type == ("cpu" if first == "dropout" else "meta")


def losses_of(model, points):
    keras.utils.set_random_seed(0)
    return model.fit(*points, epochs=2, verbose=0).history["loss"]


def make(own):
    keras.utils.set_random_seed(0)
    model = Own() if own else keras.Sequential([keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.1), loss)
    return model


def test_data_and_precision_follow_keras_and_not_the_gpus_that_torch_sees(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with keras.device("cpu"):  # as KERAS_TORCH_DEVICE=cpu does on a machine with a GPU
        assert device.default_device() == torch.device("cpu")
        images = keras_dawn.data.DeviceImages(np.zeros((4, 8, 8, 3), "uint8"), [0, 1, 0, 1], 2)
        assert images.images.device.type == "cpu"
        assert keras_dawn.precision.best_precision() != "mixed_float16"
    with keras.device("meta"):  # a device on which nothing is proved
        assert device.default_device() == torch.device("cpu")
