"""Whose steps `record_rates.py` times: presets of the record recipe and the plain loops."""

import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

from keras_dawn import data
from keras_dawn.data.image_set import ImageSet

import airbench
import keras
import numpy as np
import torch
from plain_loops import LOOPS

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
import cifar10_record

from recipe_parts import record_fits
from recipe_parts.record_network import compiled_model, ways

IMAGES = 50_000


class Part(NamedTuple):
    """Steps of one kind: images of so many pixels a side, the stem's bias trained or not."""

    pixels: int
    bias: bool

    def __str__(self):
        return f"{self.pixels} px" + ", the stem's bias trained" * self.bias


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One whose steps are timed.

    Args:
        name, ways: str, and how it computes.
        images: dict from each `Part` to how many images a whole training has of it.
        batch_size: int.
        make_turn: callable from a `Part` to a callable that trains for some steps and returns when
            each ended, in seconds.
    """

    name: str
    ways: str
    images: dict
    batch_size: int
    make_turn: object


def of_loop(name, precision, steps, compiled=False):
    """A plain loop, whose turns have so many steps; its network under `torch.compile` if asked."""
    loop = LOOPS[name]
    whole, biased = (
        math.ceil(epochs * (IMAGES // loop.batch_size))
        for epochs in (loop.epochs, loop.bias_epochs)
    )

    def make_turn(part):
        net, context = airbench.place(loop.make_net(), torch.device("cpu"), precision)
        net.train()
        net[0].bias.requires_grad = part.bias
        images = torch.randn(loop.batch_size, 3, part.pixels, part.pixels)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 10, (loop.batch_size,))
        optimizers = loop.make_optimizers(net, precision, whole)
        step = torch.compile(net) if compiled else net

        def turn():
            ends = []
            for _ in range(steps):
                loss = airbench.smoothed_loss(step, context, images, labels)
                net.zero_grad(set_to_none=True)
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                ends.append(time.perf_counter())
            return ends

        return turn

    title = f"{name}, plain torch, {precision}" + ", compiled" * compiled
    steps_of = {Part(32, True): biased, Part(32, False): whole - biased}
    images = {part: count * loop.batch_size for part, count in steps_of.items() if count}
    return Contestant(title, "torch's own", images, loop.batch_size, make_turn)


def of_preset(name, precision, steps):
    """A preset of the record recipe, whose turns have so many steps."""
    preset = dataclasses.replace(cifar10_record.PRESETS[name], precision=precision)

    def make_turn(part):
        keras.config.set_dtype_policy(precision)
        images = random_images(steps * preset.batch_size)
        memory = data.LossMemory(len(images.train_images))
        model = compiled_model(preset, images, memory)
        if preset.bias_epochs:
            model.get_layer("whitening").bias.trainable = part.bias
        one = dataclasses.replace(preset, sizes={0: part.pixels}, hard_from=None, epochs=1)
        (fit,) = record_fits.load(one, images, 0, memory)

        def turn():
            ends = []
            note = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
            )
            model.fit(fit.data, callbacks=[note], verbose=0, shuffle=False)
            return ends

        return turn

    return Contestant(
        f"keras_dawn, {name}, {precision}",
        ways(preset),
        images_by_part(preset),
        preset.batch_size,
        make_turn,
    )


def images_by_part(preset):
    """How many images the whole training of a preset has of each `Part`, as a dict."""
    found, pixels = {}, None
    for epoch in range(preset.epochs):
        pixels = preset.sizes.get(epoch, pixels)
        hard = preset.hard_from is not None and epoch >= preset.hard_from
        images = round(IMAGES * (preset.hard_fraction if hard else 1))
        part = Part(pixels, epoch < preset.bias_epochs)
        found[part] = found.get(part, 0) + images // preset.batch_size * preset.batch_size
    return found


def random_images(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    return ImageSet(
        "cifar10", "random", pixels, labels, pixels[:10], labels[:10],
        tuple(map(str, range(10))), data.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    )  # fmt: skip
