"""The same training in one life and in several, for tests."""

import keras_dawn
from keras_dawn import ResumeTraining

import keras
import numpy as np
import torch

from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

STEPS = 5  # an epoch
EPOCHS = 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 6)).astype("float32")
Y = RANDOM.integers(0, 3, 40)


def small_model(accelerated=True, optimizer=None):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model) if accelerated else model


def life(folder, *, data, callbacks=(), cut=None, seed=1, accelerated=True, every_steps=2, **fit):
    """One process's life, in this one; returns the model, as `fit` left it.

    Args:
        data: callable that returns `(x, y)`.
        callbacks: callable that returns the callbacks beside `ResumeTraining`, or a tuple.
        cut: int, after how many steps the training is cut off.
    """
    as_another_process(seed)
    model = small_model(accelerated)
    x, y = data()
    others = callbacks() if callable(callbacks) else callbacks
    own = {"shuffle": False} if hasattr(x, "__next__") or hasattr(x, "collate_fn") else {}
    own |= {"batch_size": 8} if y is not None else {}
    arguments = {"epochs": EPOCHS, "verbose": 0, **own, **fit}
    resume = ResumeTraining(folder, every_steps=every_steps)
    try:
        model.fit(x, y, callbacks=[*others, Cut(cut), resume], **arguments)
    except RuntimeError as error:
        assert "cut off" in str(error)
    return model


def same(ours, theirs):
    """Asserts that two models are the same to the bit, also in what their histories say."""
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        assert torch.equal(a.value, b.value), a.path
    for a, b in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        assert torch.equal(a.value, b.value), a.path
    assert ours.history.history == theirs.history.history
    assert ours.history.epoch == theirs.history.epoch


def ends_the_same(tmp_path, cuts, seeds=(1,), **how):
    """Asserts that a training that is cut off, again and again, ends as an unbroken one."""
    whole = life(tmp_path / "whole", **how)
    for number, cut in enumerate(cuts):
        life(tmp_path / "cut", cut=cut, seed=seeds[min(number, len(seeds) - 1)], **how)
    again = life(tmp_path / "cut", seed=seeds[-1], **how)
    same(again, whole)
    return again
