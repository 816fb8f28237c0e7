"""Trainings on two ranks of which each alone would record CUDA graphs in other steps, or none."""

import contextlib
import functools
import warnings
from pathlib import Path
from unittest import mock

import keras_dawn
from keras_dawn import data
from keras_dawn.distributed.ranks import current
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.capture import GraphPool
from keras_dawn.native.steps.step_graphs import StepGraphs

import keras
import torch
from graph_scenarios import SMALL, numbers

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu, nccl_on_a_cpu
from tests.native.graphed import IMAGES, LABELS, Case, how, network

OTHER = 1  # the rank that is unlike rank 0
_capture = GraphPool.capture


def _fails(before, times):
    """Captures of this rank fail, before their work or after it."""
    left = [times]

    def capture(self, work):
        def failing():
            if not before or not left[0]:
                work()
            if left[0]:
                left[0] -= 1
                raise RuntimeError("out of memory")

        return _capture(self, failing)

    return mock.patch.object(GraphPool, "capture", capture)


def _is_unfit():
    return mock.patch.object(StepGraphs, "_why_not_the_same", lambda self: "something of its own")


class Wants(keras.callbacks.Callback):
    """Gradients in one epoch, on one rank alone: to the step another setting."""

    def on_train_batch_begin(self, batch, logs=None):
        engine_of(self.model).steps.keep_gradients = self.epoch == 1

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


class Frees(keras.callbacks.Callback):
    """Gives graphs back, on one rank alone."""

    def on_epoch_begin(self, epoch, logs=None):
        engine_of(self.model).steps.graphs.release()


def _on_the_other(callback):
    return lambda model: [callback()] if current().rank == OTHER else []


def scenarios():
    """By name: a case, and what is otherwise on the other rank."""
    dropout = functools.partial(network, dropout=0.3)
    alike = {"make": dropout, "source": _first(40), "epochs": 3}
    transformed = _first(40, transforms=[data.PadCrop(2), data.RandomFlip()])
    nothing = contextlib.nullcontext()
    return {
        "fails before its work": (Case(**alike), _fails(True, 99)),
        "fails after its work": (Case(**alike), _fails(False, 99)),
        "fails with transforms": (Case(source=transformed), _fails(False, 1)),
        "unfit": (Case(**alike), _is_unfit()),
        "another setting": (Case(callbacks=_on_the_other(Wants), **alike), nothing),
        "gives back": (Case(callbacks=_on_the_other(Frees), **alike), nothing),
        "last batches differ": (Case(source=_first(21), epochs=4), nothing),
        "all batches differ": (Case(source=_first(35, 7)), nothing),
    }


def _first(count, batch_size=8, **settings):
    return lambda: data.DeviceImages(IMAGES[:count], LABELS[:count], batch_size, **settings)


def main(folder):
    """Writes, by scenario, what this rank has found to `folder / RANK.pt`."""
    ranks = keras_dawn.distribute(timeout_seconds=60)
    found, eager = {}, {}
    for name, (case, otherwise) in scenarios().items():
        with cuda_graphs_on_a_cpu() as graphs, nccl_on_a_cpu(), SMALL:
            kind = case.source, case.make, case.fit["epochs"]
            if kind not in eager:
                eager[kind] = numbers(case.train(graphs=False))
            here = otherwise if ranks.rank == OTHER else contextlib.nullcontext()
            with here, warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                trained = case.train(graphs=True)
            found[name] = {
                "eager": eager[kind],
                "graphed": numbers(trained),
                "begun": graphs.begun,
                "replayed": graphs.replayed,
                "how": how(trained[0]),
                "warned": [str(w.message) for w in warned if "CUDA graph" in str(w.message)],
            }
    torch.save(found, Path(folder) / f"{ranks.rank}.pt")
