"""Checkpoints hold what no variable of the model or of its own optimizer does."""

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.foundation import model_state

import keras
import numpy as np
import pytest
import torch
from own_models import Gan
from trainings import numbers

from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

X, CLASSES = numbers(20, 3, 6, 6).astype("float32"), np.arange(20) % 2


def with_torch_module():
    """Batch normalisation of torch's, whose running averages are buffers."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()
    )
    inputs = keras.Input((3, 6, 6))
    x = keras.layers.TorchModuleWrapper(module, output_shape=(None, 64))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    return model, (X, CLASSES)


def with_two_optimizers():
    model = Gan()
    optimizers = [keras.optimizers.Adam(0.02), keras.optimizers.SGD(0.05, momentum=0.5)]
    model.compile(*optimizers, optimizer=None)
    return model, ((numbers(20, 3), numbers(20, 2, seed=1)), None)


def state(model):
    variables = [*model.variables, *model_state.optimizer_variables(model)]
    tensors = [v.value for v in variables] + model_state.torch_buffers(model)
    return [tensor.detach().clone() for tensor in tensors]


def life(build, folder, cut=None, seed=1):
    """3 epochs of 5 steps, unless it is cut off."""
    as_another_process(seed)
    model, (x, y) = build()
    keras_dawn.accelerate(model)
    callbacks = [Cut(cut), ResumeTraining(folder, every_steps=2)]
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    return state(model), model.history.history


@pytest.mark.parametrize("cut", [5, 9])  # at an epoch's end, and in the middle of one
@pytest.mark.parametrize("build", [with_torch_module, with_two_optimizers])
def test_a_training_that_was_cut_off_ends_as_an_unbroken_one(build, cut, tmp_path):
    whole, history = life(build, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut off"):
        life(build, tmp_path / "cut", cut)
    again, history_again = life(build, tmp_path / "cut", seed=2)
    assert len(whole) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert history == history_again


@pytest.mark.parametrize("accelerated", [True, False])
def test_a_range_test_puts_a_torch_modules_buffers_back(accelerated):
    model, (x, y) = with_torch_module()
    if accelerated:
        keras_dawn.accelerate(model)
    model.fit(x, y, batch_size=4, verbose=0)
    before = state(model)
    keras_dawn.find_learning_rate(model, x, y, steps=6, batch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(before, state(model), strict=True))
