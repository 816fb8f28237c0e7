"""DAWNBench's clock in a plan: loading what is trained on counts, what is validated on does not."""

import time

import keras_dawn
from keras_dawn import Phase, TimeToAccuracy, TrainingClock, fit_plan

import keras
import numpy as np
import pytest


def runs(clock):
    before = clock.training_seconds()
    time.sleep(0.002)
    return clock.training_seconds() > before


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("own_clock", [True, False])
def test_data_of_every_phase_is_made_while_the_clock_runs(accelerated, own_clock):
    x, y = np.random.rand(16, 8, 8, 3).astype("float32"), np.arange(16) % 2
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.compile(keras_dawn.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    if accelerated:
        keras_dawn.accelerate(model)
    timer = TimeToAccuracy(99.0, clock=TrainingClock() if own_clock else None)
    training, validation = [], []

    def make_training(phase):
        training.append(timer.clock and runs(timer.clock))
        return x[:, : phase.image_size, : phase.image_size], y

    def make_validation(phase):
        validation.append(timer.clock and runs(timer.clock))
        return x[:, : phase.image_size, : phase.image_size], y

    phases = [Phase(2, 8, 16, 0.1), Phase(1, 8, 16, 0.1), Phase(1, 6, 8, 0.1)]
    fit_plan(model, phases, make_training, validation_data=make_validation,
             callbacks=[timer], verbose=0)  # fmt: skip
    # The first are made before `fit`, when only a clock of one's own runs.
    assert training == [True if own_clock else None, True, True]
    assert validation[1:] == [False]
