import keras_dawn
from keras_dawn import Phase, ResumeTraining, TrainingPlan, data, fit_plan

import keras
import numpy as np
import pytest
import torch

from tests.resume.this_process import ThisProcess, as_another_process


class Cut(ThisProcess):
    """Ends the process as far as a training can tell, after so many steps or in validation."""

    def __init__(self, at=None, in_validation=None):
        super().__init__()
        # Not under the names of arguments: these would be settings, which the next process names.
        self.last_step, self.last_batch, self.steps, self.validations = at, in_validation, 0, 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.steps == self.last_step:
            raise RuntimeError("cut off")
        self.steps += 1

    def on_test_batch_begin(self, batch, logs=None):
        self.validations += 1
        if self.validations == self.last_batch:
            raise RuntimeError("cut off")


def images(count, seed=0, size=8, **arguments):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return data.DeviceImages(pixels, random.integers(0, 3, count), 8, **arguments)


def build(policy="float32", accelerated=True):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    optimizer = keras_dawn.SGD(0.1, momentum=0.9, weight_decay=1e-3)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model) if accelerated else model


def run(folder, cut=None, seed=1, accelerated=True, policy="float32", **when):
    """One process's life: 4 epochs of 5 steps, unless it is cut off."""
    as_another_process(seed)
    model = build(policy, accelerated)
    train = images(40, transforms=[data.PadCrop(1)], sampler=data.Shuffled())
    resume = ResumeTraining(folder, data=train, **(when or {"every_steps": 3}))
    callbacks = [keras_dawn.OneCycle(0.2, momentum=(0.95, 0.85)), cut or Cut(), resume]
    history = model.fit(
        train,
        validation_data=images(16, 1),
        epochs=4,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )
    return model, history.history, torch.get_rng_state()


def same(ours, theirs):
    for a, b in zip(ours[0].variables, theirs[0].variables, strict=True):
        assert torch.equal(a.value, b.value), a.path
    for a, b in zip(ours[0].optimizer.variables, theirs[0].optimizer.variables, strict=True):
        assert torch.equal(a.value, b.value), a.path
    assert ours[1] == theirs[1]
    assert torch.equal(ours[2], theirs[2])


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("cut", [1, 4, 5, 6, 8, 9, 10, 14, 19])
def test_a_run_cut_off_at_any_step_ends_as_an_unbroken_one(cut, accelerated, tmp_path):
    expected = run(tmp_path / "whole", accelerated=accelerated)
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", Cut(cut), accelerated=accelerated)
    # Another seed: everything must come from the checkpoint, once there is one.
    seed = 1 if cut <= 3 else 99
    same(run(tmp_path / "cut", seed=seed, accelerated=accelerated), expected)


def test_a_finished_run_started_again_does_nothing_and_keeps_its_history(tmp_path):
    expected = run(tmp_path)
    again = Cut()
    model, history, _ = run(tmp_path, again, seed=5)
    assert again.steps == 0 and history == expected[1]
    for a, b in zip(model.variables, expected[0].variables, strict=True):
        assert torch.equal(a.value, b.value)


def test_a_run_cut_off_again_and_again_and_during_validation(tmp_path):
    expected = run(tmp_path / "whole")
    folder = tmp_path / "cut"
    for cut in (Cut(in_validation=2), Cut(7), Cut(3), Cut(in_validation=1)):
        with pytest.raises(RuntimeError, match="cut off"):
            run(folder, cut)
    same(run(folder, seed=5), expected)


@pytest.mark.parametrize("seconds, saved", [(1e-9, 2), (1e9, 0)])
def test_checkpoints_by_time_are_resumed_too(seconds, saved, tmp_path):
    expected = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", Cut(13), every_seconds=seconds)
    names = sorted(path.name for path in (tmp_path / "cut").glob("*.pt"))
    assert sum(name.startswith("checkpoint-00002-000000") and name != "checkpoint-00002-0000000.pt"
               for name in names) == saved  # fmt: skip
    same(run(tmp_path / "cut", seed=5, every_seconds=seconds), expected)


def test_loss_scaling_is_resumed(tmp_path):
    expected = run(tmp_path / "whole", policy="mixed_float16")
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", Cut(9), policy="mixed_float16")
    same(run(tmp_path / "cut", seed=5, policy="mixed_float16"), expected)


@pytest.mark.parametrize("at", [3, 5, 8, 12])  # within each epoch, and between two
def test_arrays_that_keras_shuffles_are_resumed(at, tmp_path):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 8, 8, 3)).astype("float32"), random.integers(0, 3, 40)

    def once(folder, cut=None, seed=1):
        as_another_process(seed)
        model = build()
        resume = ResumeTraining(folder, every_steps=2)
        history = model.fit(x, y, 8, epochs=3, verbose=0, callbacks=[cut or Cut(), resume])
        return model, history.history, torch.get_rng_state()

    expected = once(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut off"):
        once(tmp_path / "cut", Cut(at))
    same(once(tmp_path / "cut", seed=3), expected)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(harm, tmp_path):
    expected = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", Cut(9))
    newest = sorted((tmp_path / "cut").glob("*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": content[:-100], "flipped": content, "empty": b""}[harm])
    with pytest.warns(UserWarning, match="damaged and passed over"):
        same(run(tmp_path / "cut", seed=5), expected)


def test_two_checkpoints_are_kept_and_no_partial_files(tmp_path):
    run(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".json")
    assert names == [
        ".lock",
        "checkpoint-00003-0000003.pt",
        "checkpoint-00004-0000000.pt",
    ]


def test_a_checkpoint_of_another_model_is_refused(tmp_path, dense_model, points):
    run(tmp_path)
    with pytest.raises(ValueError, match="another model"):
        dense_model("sgd").fit(*points, verbose=0, callbacks=[ResumeTraining(tmp_path)])


@pytest.mark.parametrize(
    "arguments", [{"every_steps": 0}, {"keep": 0}, {"keep": None}, {"every_steps": 1.5}]
)
def test_bad_numbers_are_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match="from 1 up"):
        ResumeTraining(tmp_path, **arguments)
    with pytest.raises(ValueError, match="above 0"):
        ResumeTraining(tmp_path, every_seconds=0)


PLAN = TrainingPlan(
    [
        Phase(2, 8, 8, (0.05, 0.2), momentum=(0.95, 0.85), weight_decay=1e-3),
        Phase(2, 12, 5, (0.2, 0.0), momentum=0.85, weight_decay=1e-3),
    ]
)


def run_plan(folder, cut=None, seed=1):
    as_another_process(seed)
    model = build()

    def train(phase):
        made = images(40, size=phase.image_size)
        sampler = data.Shuffled()
        return data.DeviceImages(made.images, made.labels, phase.batch_size, sampler=sampler)

    def validation(phase):
        return images(16, 1, phase.evaluated_at)

    resume = ResumeTraining(folder, every_steps=3)
    history = fit_plan(
        model,
        PLAN,
        train,
        validation_data=validation,
        callbacks=[cut or Cut(), resume],
        verbose=0,
    )
    return model, history.history, torch.get_rng_state()


@pytest.mark.parametrize("cut", [4, 9, 10, 13, 18, 25])
def test_a_plan_cut_off_in_any_phase_ends_as_an_unbroken_one(cut, tmp_path):
    expected = run_plan(tmp_path / "whole")
    assert expected[1]["image_size"] == [8, 8, 12, 12]
    with pytest.raises(RuntimeError, match="cut off"):
        run_plan(tmp_path / "cut", Cut(cut))
    same(run_plan(tmp_path / "cut", seed=7), expected)


def test_a_plan_sets_what_it_says_in_every_step():
    seen = {"learning_rate": [], "momentum": []}

    class See(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen["learning_rate"].append(float(self.model.optimizer.learning_rate))
            seen["momentum"].append(self.model.optimizer.momentum)

    model = build()
    fit_plan(
        model,
        PLAN,
        lambda phase: data.DeviceImages(
            images(40, size=phase.image_size).images, images(40).labels, phase.batch_size
        ),
        callbacks=[See()],
        verbose=0,
    )
    expected = PLAN.values(40)
    for name, values in seen.items():
        assert values == pytest.approx(expected[name], rel=1e-6)


def test_a_second_schedule_of_the_rate_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leave OneCycle out"):
        fit_plan(build(), PLAN, images, callbacks=[keras_dawn.OneCycle(0.1)])
