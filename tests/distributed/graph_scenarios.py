"""Trainings on ranks whose steps are CUDA graphs, on the emulator, beside ordinary ones."""

import dataclasses
import functools
from pathlib import Path
from unittest import mock

import keras_dawn
from keras_dawn import OneCycle, data
from keras_dawn.distributed import ranks as ranks_module

import keras
import torch

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu, nccl_on_a_cpu
from tests.native.graphed import Case, everything, how, images, network

SMALL = mock.patch.multiple("keras_dawn.native.steps.buckets", _FIRST_BYTES=64, _BYTES=512)


def scaled():
    inner = keras.optimizers.AdamW(1e-3, weight_decay=0.01)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**30)


def normalised_by_groups():
    """A network whose batches on two ranks do what one batch does."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = keras.layers.ReLU()(keras.layers.GroupNormalization(4)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3)(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


TRANSFORMS = [data.PadCrop(2), data.RandomFlip()]
CASES = {
    "one cycle": Case(
        source=functools.partial(images, transforms=TRANSFORMS),
        callbacks=lambda model: [OneCycle(0.05)],
    ),
    "loss scaling": Case(scaled, functools.partial(network, "mixed_float16"), epochs=4),
    "like one process": Case(make=normalised_by_groups, epochs=3),
    "gradients in half the bytes": Case(make=normalised_by_groups),
}


def main(folder):
    """Writes, by case, what is left of each kind of training to `folder / RANK.pt`."""
    ranks = keras_dawn.distribute()
    found = {}
    for name, case in CASES.items():
        compression = "bfloat16" if name.startswith("gradients") else None
        ranks_module._current = dataclasses.replace(ranks, gradient_compression=compression)
        found[name] = {"by torch": numbers(case.train(graphs=False))}
        with cuda_graphs_on_a_cpu() as graphs, nccl_on_a_cpu(), SMALL:
            found[name]["eager"] = numbers(case.train(graphs=False))
            # Each rank alone would record in another step; the emulator's sums refuse that.
            warm_up = mock.patch("keras_dawn.native.cuda_graph.WARM_UP_STEPS", 3 + ranks.rank)
            with warm_up:
                trained = case.train(graphs=True)
            found[name]["graphed"] = numbers(trained)
            found[name]["how"] = how(trained[0]), graphs.made, graphs.replayed
            found[name]["explained"] = str(keras_dawn.explain(trained[0]))
    torch.save(found, Path(folder) / f"{ranks.rank}.pt")


def numbers(trained):
    model, history = trained
    return [torch.as_tensor(each) for each in everything(model)], history
