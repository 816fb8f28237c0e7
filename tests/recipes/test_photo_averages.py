"""With which weights a photo recipe ends: those that its last validation has seen."""

import dataclasses
from types import SimpleNamespace

from keras_dawn import SGD, TimeToAccuracy

import imagewoof
import keras
import numpy as np
import pytest

from recipe_parts import photo_network


@pytest.mark.parametrize("lookahead", [False, True])
def test_a_training_that_is_stopped_ends_with_the_average_that_reached_the_target(
    lookahead, dense_model, points, monkeypatch
):
    monkeypatch.setattr(photo_network, "FLAGS", SimpleNamespace(ema=0.9))
    preset = dataclasses.replace(imagewoof.PRESETS["smoke"], lookahead=lookahead)
    timer, model = TimeToAccuracy(1.0, stop_at_target=True), dense_model(SGD(0.5))
    seen, weights = [], []
    spy = keras.callbacks.LambdaCallback(
        on_test_batch_begin=lambda batch, logs: seen.append(model.get_weights()),
        on_train_batch_end=lambda batch, logs: weights.append(model.get_weights()),
    )
    model.fit(
        *points, batch_size=8, epochs=9, validation_data=points, verbose=0,
        callbacks=[*photo_network.averages(preset), timer, spy],
    )  # fmt: skip
    assert len(timer.records) == 1  # before the last of the epochs
    average = weights[0]
    for after in weights[1:]:
        average = [0.9 * one + 0.1 * new for one, new in zip(average, after, strict=True)]
    for at_the_end, validated, by_hand in zip(model.get_weights(), seen[-1], average, strict=True):
        np.testing.assert_array_equal(at_the_end, validated)
        np.testing.assert_allclose(at_the_end, by_hand, rtol=1e-5, atol=1e-6)
