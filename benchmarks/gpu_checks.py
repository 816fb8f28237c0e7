"""Correctness on a GPU: what the tests cannot see on a processor.

Each check returns what it measured, as text, and raises `AssertionError` where it fails, `SkipTest`
where the machine cannot show it.
"""

import contextlib
import tempfile
import traceback
from pathlib import Path
from unittest import SkipTest

import keras_dawn
from keras_dawn.data.photos import ImageFolder, ResizingImages
from keras_dawn.native import cuda_graph
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import torch
from gpu_parts import skipped
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def on_gpu():
    return torch.cuda.is_available()


def side():
    """Pixels of an image's side; smaller on a processor."""
    return 32 if on_gpu() else 16


def needs_gpu(device, why):
    if torch.device(device).type != "cuda":
        raise SkipTest(why)


def build(policy="float32", optimizer=None):
    """A small wide residual network, compiled, the same at each call; smaller on a processor."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    shape = (side(), side(), 3)
    model = keras_dawn.models.WideResNet(10, 2 if on_gpu() else 1, input_shape=shape)
    keras.config.set_dtype_policy("float32")
    model.compile(
        optimizer or keras_dawn.SGD(0.02, momentum=0.9, weight_decay=1e-4),
        LOSS,
        metrics=["accuracy"],
    )
    return model


def batches(device):
    """Four full batches of 36 images and a last one of 16; on a processor of 4, and one of 2."""
    random = torch.Generator().manual_seed(1)
    count, batch = (160, 36) if on_gpu() else (18, 4)
    x = torch.randn(count, side(), side(), 3, generator=random).to(device)
    y = torch.randint(0, 10, (count,), generator=random).to(device)
    return DataLoader(TensorDataset(x, y), batch_size=batch)


def fit(model, device, epochs=None, **arguments):
    epochs = epochs or (5 if on_gpu() else 3)
    return model.fit(batches(device), epochs=epochs, shuffle=False, verbose=0, **arguments).history


def apart(ours, theirs, start):
    """How far two models that began as `start` ended apart, over the way that `theirs` went.

    By Euclidean lengths, the largest of all weights and moving averages.
    """
    largest = 0.0
    for variables in zip(ours.variables, theirs.variables, start.variables, strict=True):
        a, b, begin = (each.value.detach().double() for each in variables)
        between, way = (float(torch.linalg.vector_norm(one)) for one in (a - b, b - begin))
        if between:
            largest = max(largest, between / way if way else float("inf"))
    return largest


@contextlib.contextmanager
def full_float32():
    """No TensorFloat-32, deterministic convolutions: differences are then rounding."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        torch.backends.cudnn.deterministic = False


def native_equals_plain_keras(device):
    with full_float32():
        # At a higher rate a training magnifies rounding, in plain Keras as much as here.
        plain, native = (
            build(optimizer=keras_dawn.SGD(0.002, momentum=0.9, weight_decay=1e-4))
            for _ in range(2)
        )
        keras_dawn.accelerate(native)
        expected, found = fit(plain, device), fit(native, device)
    loss = max(abs(a - b) / b for a, b in zip(found["loss"], expected["loss"], strict=True))
    assert loss < 1e-4, f"losses differ by {loss:.1e} of their value"
    weights = apart(native, plain, build())
    assert weights < 1e-2, f"weights differ by {weights:.1e} of the way that training took them"
    steps = len(batches(device)) * len(expected["loss"])
    return (
        f"after {steps} steps losses differ by {loss:.1e} of their value (limit 1e-4), each weight "
        f"by at most {weights:.1e} of the way that training took it (limit 1e-2)"
    )


def a_cuda_graph_changes_nothing(device):
    needs_gpu(device, "only a GPU has CUDA graphs")
    with full_float32():
        graphed = keras_dawn.accelerate(build())
        fit(graphed, device)
        whole = engine_of(graphed).steps.graphs.whole
        made = whole.made if whole else 0
        before, cuda_graph.WARM_UP_STEPS = cuda_graph.WARM_UP_STEPS, 10**9
        try:
            eager = keras_dawn.accelerate(build())
            fit(eager, device)
        finally:
            cuda_graph.WARM_UP_STEPS = before
    difference = apart(graphed, eager, build())
    assert difference < 1e-3, f"weights differ by {difference:.1e} of the way they went"
    assert made == 2, f"{made} graphs were made for two batch sizes"
    return f"{made} graphs, weights differ by {difference:.1e} of the way they went (limit 1e-3)"


def a_step_does_not_wait_for_the_device(device):
    needs_gpu(device, "a processor's steps have nothing to wait for")
    model = keras_dawn.accelerate(build("mixed_bfloat16"), log_every=10**9)
    fit(model, device, epochs=2)
    (steps, *_), (x, y) = [engine_of(model).steps], next(iter(batches(device)))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            steps.train_step([(x, y)])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "5 steps under set_sync_debug_mode('error')"


def an_infinity_skips_the_step(device):
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras_dawn.SGD(0.02, momentum=0.9), initial_scale=512.0
    )
    model = keras_dawn.accelerate(build("mixed_float16", optimizer))
    fit(model, device, epochs=1)
    before = [v.value.detach().clone() for v in model.variables]
    scale, count = float(optimizer.dynamic_scale), int(optimizer.inner_optimizer.iterations)
    x, y = next(iter(batches(device)))
    engine_of(model).steps.train_step([(torch.full_like(x, float("inf")), y)])
    after = [v.value.detach() for v in model.variables]
    same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert same, "weights or moving averages changed"
    assert float(optimizer.dynamic_scale) == scale / 2
    assert int(optimizer.inner_optimizer.iterations) == count
    return "weights and moving averages unchanged, scale halved"


def every_precision_learns(device):
    found = []
    half = (
        ("mixed_float16",) if on_gpu() else ()
    )  # processors without its instructions take minutes
    for policy in ("float32", "mixed_bfloat16", *half):
        optimizer = keras_dawn.SGD(0.02, momentum=0.9)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
        losses = fit(keras_dawn.accelerate(build(policy, optimizer)), device, epochs=8)["loss"]
        assert losses[-1] < 0.95 * losses[0], f"{policy}: {losses}"
        found.append(f"{policy} {losses[0]:.2f} → {losses[-1]:.2f}")
    return ", ".join([*found, *([] if half else ["mixed_float16 skipped: slow on processors"])])


def photos_are_the_same_on_every_device(device):
    needs_gpu(device, "there is one device")
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for label in range(2):
            (Path(folder) / str(label)).mkdir()
            for number in range(8):
                pixels = random.integers(0, 256, (50, 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(folder) / str(label) / f"{number}.jpg")
        source = ImageFolder(folder)
        for there, here in zip(
            ResizingImages(source, 4, image_size=32, device=device),
            ResizingImages(source, 4, image_size=32, device="cpu"),
            strict=True,
        ):
            assert torch.allclose(there[0].cpu(), here[0], atol=1e-5)
            assert torch.equal(there[1].cpu(), here[1])
    return "pinned copies on a stream of their own equal the processor's batches"


CHECKS = (
    native_equals_plain_keras,
    a_cuda_graph_changes_nothing,
    a_step_does_not_wait_for_the_device,
    an_infinity_skips_the_step,
    every_precision_learns,
    photos_are_the_same_on_every_device,
)


def run(cases):
    """Runs the checks that have not passed yet; each is reported, whatever it raises."""
    device = "cuda" if on_gpu() else "cpu"
    torch.backends.cudnn.benchmark = False  # it may choose other algorithms for what is compared
    for check in CHECKS:
        if cases.found.get(check.__name__, {}).get("passed"):
            continue
        try:
            result = {"passed": True, "found": check(device)}
        except SkipTest as why:
            result = skipped(str(why))
        except Exception as error:
            traceback.print_exc()
            result = {"passed": False, "found": repr(error)[:2000]}
        cases.keep(check.__name__, result)
