"""What a GPU's host does in a training, rehearsed on a GPU that is not there (`nullgpu/`)."""

import json
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from tests import nullgpu
from tests.nullgpu.limits import LIMITS, MIB_OF_ANY

HERE = Path(__file__).parent
PATHS = [HERE.parent, HERE.parent / "recipes"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(nullgpu.why_not() is not None, reason=f"null GPU: {nullgpu.why_not()}"),
]


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """What a step costs the host, by the name of its setting."""
    return counted("steps.py")


def counted(program, *names):
    done = nullgpu.run(
        HERE / "nullgpu" / program,
        *names,
        paths=PATHS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout
    return {line.pop("name"): line for line in lines(done.stdout)}


@pytest.mark.parametrize("name", LIMITS)
def test_a_step_waits_for_nothing_and_launches_no_more_than_it_did(name, steps):
    launches, graphs, mib = LIMITS[name]
    found = steps[name]
    assert "error" not in found
    assert found["waits"] <= 0 and found["pageable copies"] <= 0  # below: what `fit` itself does
    assert found["launches"] <= launches and found["MiB"] <= mib
    assert found["graphs"] == graphs


def test_every_setting_has_its_limits(steps):
    assert set(steps) == set(LIMITS)


@pytest.mark.parametrize("network", MIB_OF_ANY)
def test_a_step_is_one_graph_with_every_optimizer_precision_and_source(network):
    found = counted("product.py", f"{network}, ")
    assert len(found) == 4 * 3 * 2
    for name, line in found.items():
        assert "error" not in line, name
        costs = [line[key] for key in ("launches", "graphs", "waits", "pageable copies")]
        assert costs == [0, 1, 0, 0] and line["MiB"] <= MIB_OF_ANY[network], (name, line)


def test_float16_normalises_by_cudnn_and_by_torch_where_it_is_told_so():
    program = """
import keras_dawn, counters, settings
from keras_dawn.native import cuda_graph
from keras_dawn.native.lowering.rules import batch_normalization
for policy, switch, expected in (
    ("mixed_float16", True, True), ("mixed_float16", False, False), ("mixed_bfloat16", True, False)
):
    batch_normalization.CUDNN_IN_FLOAT16 = switch
    model = keras_dawn.accelerate(settings.wide(policy)())
    counters.reset()
    model.fit(settings.images(2), shuffle=False, verbose=0)  # before a graph is made
    names = " ".join(counters.kernels())
    for call in ("ForwardTraining", "Backward"):
        assert (f"cudnnBatchNormalization{call}" in names) == expected, (policy, switch, names)
    assert ("batch_norm_collect_statistics" in names) != expected, (policy, switch, names)
"""
    done = nullgpu.run(
        "-c", program, paths=PATHS, stderr=subprocess.PIPE, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_model_on_another_gpu_than_the_current_one_is_a_graph_all_the_same():
    program = """
import keras, keras_dawn, counters, settings
from keras_dawn.native.accelerate import engine_of
nodes = []
for name in ("cuda:0", "cuda:1"):
    with keras.device(name):
        model = keras_dawn.accelerate(settings.wide("float32")(), log_every=10**9)
        counters.reset()
        model.fit(settings.images(12), shuffle=False, verbose=0)
        nodes.append(counters.counts()["captured"])
        assert model.trainable_variables[0].value.device.index == int(name[-1])
        assert engine_of(model).steps.graphs.how() == "the whole step"
assert nodes[0] == nodes[1] > 100, nodes
"""
    done = nullgpu.run(
        "-c", program, gpus=2, paths=PATHS, stderr=subprocess.PIPE, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_model_with_dropout_trains_on_after_a_capture_that_failed():
    program = """
import warnings
from unittest import mock
import keras, keras_dawn, settings, torch
from keras import layers
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps.updates.base import Update

def network():
    flat, drop = layers.Flatten(), layers.Dropout(0.5)
    return keras.Sequential([keras.Input((16, 16, 3)), flat, drop, layers.Dense(10)])

def reads(self, gradients):
    float(gradients[0].sum())
    return gradients

model = keras_dawn.accelerate(settings.compiled(network, "float32")())
before = torch.cuda.current_stream()
with mock.patch.object(Update, "clipped", reads), warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(settings.images(12), shuffle=False, verbose=0)
assert any("No CUDA graph could be made" in str(warning.message) for warning in caught), caught
assert "not the whole step" in engine_of(model).steps.graphs.how()
assert torch.cuda.current_stream() == before
"""
    done = nullgpu.run(
        "-c", program, paths=PATHS, stderr=subprocess.PIPE, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr


HAS_SETTING = hasattr(torch.autograd.graph, "set_override_stale_capture_stream")
IN_NEWER = pytest.mark.skipif(not HAS_SETTING, reason="in an older torch the steps are eager then")


@pytest.mark.parametrize(
    "held_by", [pytest.param("the user", marks=IN_NEWER), "a circle, in an older torch"]
)
def test_a_loss_held_from_before_the_training_does_not_end_its_graph(held_by):
    program = f"""
import contextlib, gc, types, warnings
import keras, keras_dawn, settings, torch
from keras import layers
from keras_dawn.native import capture
from keras_dawn.native.accelerate import engine_of

def network():
    return keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(10)])

warnings.simplefilter("error")
model = keras_dawn.accelerate(settings.compiled(network, "float32")())
held = model(torch.zeros(2, 16, 16, 3, device="cuda")).sum()
assert held.requires_grad
if {held_by != "the user"}:
    gc.disable()  # or it might be found by chance
    held = types.SimpleNamespace(loss=held)
    held.held = held
    held = None
    capture.weights_of_its_stream = contextlib.nullcontext  # torch's setting is a new one
model.fit(settings.images(12), shuffle=False, verbose=0)
assert engine_of(model).steps.graphs.how() == "the whole step"
if held is not None:
    held.backward()
"""
    done = nullgpu.run(
        "-c", program, paths=PATHS, stderr=subprocess.PIPE, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_recurrent_layer_is_derived_twice_past_cudnn():
    program = """
import counters, keras, keras_dawn, torch
from keras import layers

def two_ways():
    return layers.Bidirectional(layers.LSTM(4, return_sequences=True))

def ran():
    names = counters.kernels()
    counters.reset()
    return names["cudnn_rnn"], names["cudnn_rnn_backward"]

for make in (two_ways, lambda: layers.GRU(4), lambda: layers.SimpleRNN(4)):
    module = keras_dawn.to_torch(keras.Sequential([keras.Input((5, 3)), make()]))
    x = torch.zeros(2, 5, 3, device="cuda", requires_grad=True)
    total = module(x).sum()
    assert ran() == (1, 0)
    (slope,) = torch.autograd.grad(total, x, create_graph=True)
    torch.autograd.grad(slope.square().sum(), [x, *module.parameters()], allow_unused=True)
    assert ran() == (0, 0)
    torch.autograd.grad(total, x)
    assert ran() == (0, 1)
"""
    done = nullgpu.run(
        "-c", program, paths=PATHS, stderr=subprocess.PIPE, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_ranks_send_no_tensor_of_the_hosts_through_the_gpus_group():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs = [
        nullgpu.start(
            HERE / "nullgpu" / "ranks.py",
            *(str(rank), str(port)),
            gpus=2,
            raw=True,
            paths=PATHS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for rank in range(2)
    ]
    try:
        printed = [program.communicate(timeout=600)[0] for program in programs]
    finally:
        for program in programs:
            program.kill()
    for text in printed:
        found = {line["name"]: line["found"] for line in lines(text)}
        assert len(found) == 13 and set(found.values()) == {"works"}, text
