"""A function on several processes without torchrun, and the line for a plain start."""

import os
import sys

import keras_dawn
from keras_dawn.distributed import launch, plain_start

import keras
import numpy as np
import pytest
import torch


def weights_after(train_images):
    """A training on arrays; weights, world size and threads."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss)
    keras_dawn.accelerate(model)
    x = np.random.default_rng(0).normal(size=(train_images, 4)).astype("float32")
    model.fit(x, np.arange(train_images) % 3, batch_size=8, epochs=2, verbose=0, shuffle=False)
    return model.get_weights(), keras_dawn.distributed.current().world_size


def test_a_function_of_a_notebook_trains_on_two_processes_as_on_one():
    factor = 4

    def of_a_notebook(images):  # not one that an import finds
        return weights_after(factor * images)

    of_a_notebook.__module__ = "__main__"
    results = launch(of_a_notebook, 10, processes=2)
    expected, alone = of_a_notebook(10)
    assert [world_size for _, world_size in results] == [2, 2] and alone == 1
    for weights, _ in results:
        for found, value in zip(weights, expected, strict=True):
            np.testing.assert_allclose(found, value, atol=1e-6)


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_job_with_its_traceback():
    def fails():
        if keras_dawn.distributed.current().rank == 1:
            raise KeyError("what it lacks")
        keras_dawn.distributed.collectives.gather(0)  # waits for the other

    with pytest.raises(RuntimeError, match="(?s)Rank 1 .*KeyError.*what it lacks"):
        launch(fails, processes=2)


def test_one_process_is_this_one():
    assert launch(os.getpid, processes=1) == [os.getpid()]


@pytest.mark.parametrize("gpus, arguments", [(2, {"processes": 3}), (0, {"processes": 0})])
def test_processes_that_cannot_have_a_gpu_each_are_refused(gpus, arguments, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match="processes"):
        launch(os.getpid, **arguments)


def test_a_job_is_not_started_within_a_job(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="belongs to one"):
        launch(os.getpid, processes=2)


@pytest.mark.parametrize(
    "program, expected",
    [
        ("recipe.py", "`torchrun --nproc-per-node=8 recipe.py '--author=A B'`"),
        ("/lib/ipykernel_launcher", "launch(function, processes=8)"),
    ],
)
def test_a_plain_start_on_eight_gpus_is_told_once_how_to_use_all(
    program, expected, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(sys, "argv", [program, "--author=A B"])
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(plain_start.say_how_to_use_all, "said", False, raising=False)
    for _ in range(2):
        keras_dawn.distribute()
    said = capsys.readouterr().err
    assert expected in said and said.count("1 of 8 GPUs") == 1 and said.count("\n") == 1


@pytest.mark.parametrize("gpus, variables", [(1, {}), (0, {}), (8, {"WORLD_SIZE": "1"})])
def test_nothing_is_said_where_all_gpus_are_used(gpus, variables, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(plain_start.say_how_to_use_all, "said", False, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    keras_dawn.distribute()
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "variable, starter", [("SLURM_STEP_NUM_TASKS", "srun"), ("OMPI_COMM_WORLD_SIZE", "mpirun")]
)
def test_tasks_that_were_started_side_by_side_are_told_that_each_works_alone(
    variable, starter, monkeypatch, capsys
):
    monkeypatch.setattr(plain_start.say_who_works_alone, "said", False, raising=False)
    monkeypatch.setenv(variable, "1")
    keras_dawn.distribute()
    assert not capsys.readouterr().err
    monkeypatch.setenv(variable, "4")
    for _ in range(2):
        keras_dawn.distribute()
    said = capsys.readouterr().err
    assert f"{starter} has started 4 processes" in said and said.count("\n") == 1
    monkeypatch.setattr(plain_start.say_who_works_alone, "said", False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    keras_dawn.distribute()
    assert not capsys.readouterr().err
