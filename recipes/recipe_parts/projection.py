"""What a plan would take: steps measured on this machine, hours and dollars projected."""

import time

import keras_dawn
from keras_dawn.foundation.device import default_device
from keras_dawn.native.lowering import to_torch

import keras
import torch
from absl import flags
from rich.table import Table
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from recipe_parts import reporting
from recipe_parts.photo_network import build_model, one_hot

FLAGS = flags.FLAGS
STEPS = 3


def print_projection(preset, source, precision, prices):
    """Prints the plan and a projection of its time and cost on `--gpus` GPUs.

    Args:
        preset: `PhotoPreset`, its plan scaled to `--gpus`.
        source: the training photos.
        precision: dtype policy.
        prices: list of `dawnbench.Price`.
    """
    reporting.print_plan(preset.plan)
    sizes = ", ".join(str(size) for size in sorted({p.image_size for p in preset.plan.phases}))
    reporting.console.print(
        f"{2 * STEPS} training steps each at {sizes} px are measured on this machine now, which on "
        "a processor may take minutes."
    )
    model = build_model(preset, len(source.class_names), precision)
    rates = {
        phase.image_size: measure(model, phase, preset)
        for phase in {phase.image_size: phase for phase in preset.plan.phases}.values()
    }
    costs = preset.plan.costs(len(source), flops_per_pixel(model), rates)
    table = Table(title=f"Measured here ({precision}), projected to {FLAGS.gpus} such devices")
    for column in ("phase", "images", "petaFLOP", "images/s here", "projected hours"):
        table.add_column(column)
    for (first, phase), cost in zip(preset.plan.starts(), costs, strict=True):
        hours, rate = cost.seconds / FLAGS.gpus / 3600, rates[phase.image_size]
        table.add_row(
            f"from epoch {first + 1}, {phase.image_size} px",
            f"{cost.images:,}",
            f"{cost.flops / 1e15:,.3g}",
            f"{rate:,.{0 if rate >= 10 else 2}f}",
            f"{hours:,.3f}",
        )
    reporting.console.print(table)
    hours = sum(cost.seconds for cost in costs) / FLAGS.gpus / 3600
    lines = [
        f"PROJECTION, not a measurement: {hours:,.2f} hours on {FLAGS.gpus} devices like this one, "
        "if decoding keeps up and scaling is perfect, without validation."
    ]
    lines += [f"At {price.usd_per_hour:g} USD an hour ({price.kind}) for all {FLAGS.gpus} devices: "
              f"USD {hours * price.usd_per_hour:,.2f}." for price in prices]  # fmt: skip
    for line in lines:
        reporting.console.print(line)


def measure(model, phase, preset):
    """Images a second of training on this device at a phase's size."""
    # One device's share, and no more than a small device holds.
    device = default_device()
    batch = max(1, min(phase.batch_size // FLAGS.gpus, 64 if device.type == "cuda" else 16))
    size = phase.image_size
    images = torch.randn(batch * STEPS, size, size, 3, device=device)
    classes = model.output_shape[-1]
    labels = torch.randint(0, classes, (batch * STEPS,), device=device)
    if one_hot(preset):
        labels = torch.nn.functional.one_hot(labels, classes).float()
    data = DataLoader(TensorDataset(images, labels), batch_size=batch)
    model.fit(data, epochs=1, verbose=0, shuffle=False)  # warms up
    clock = keras_dawn.TrainingClock()
    start = time.perf_counter()
    model.fit(data, epochs=1, verbose=0, shuffle=False)
    clock.pause()  # waits for a GPU
    return len(images) / (time.perf_counter() - start)


def flops_per_pixel(model):
    """Floating-point operations of one forward pass for each pixel."""
    size = 64  # any will do: all but the head is the same work for each pixel
    module = to_torch(model)
    images = torch.zeros(1, size, size, 3, device=next(module.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(keras.ops.convert_to_tensor(images))
    return counter.get_total_flops() / size**2
