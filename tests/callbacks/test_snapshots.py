import keras_dawn
from keras_dawn import ParameterSchedule, ResumeTraining, schedules
from keras_dawn.callbacks import Snapshots

import keras
import numpy as np
import pytest
import torch


def train(model, points, callbacks, epochs=7):
    x, y = points
    schedule = ParameterSchedule({"learning_rate": schedules.cosine_restarts(0.5)})
    model.fit(
        x, y, batch_size=8, epochs=epochs, callbacks=[schedule, *callbacks], verbose=0,
        shuffle=False,
    )  # fmt: skip
    return model


@pytest.mark.parametrize("accelerated", [False, True])
def test_snapshots_are_the_weights_at_the_ends_of_the_cycles(accelerated, dense_model, points):
    class EpochEnds(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.weights = []

        def on_epoch_end(self, epoch, logs=None):
            self.weights.append(self.model.get_weights())

    model = dense_model(keras_dawn.SGD(0.1))
    if accelerated:
        keras_dawn.accelerate(model)
    snapshots, ends = Snapshots(schedules.restart_ends()), EpochEnds()
    train(model, points, [snapshots, ends])
    for found, expected in zip(
        snapshots.weights, [ends.weights[n] for n in (0, 2, 6)], strict=True
    ):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    mean = 0
    for weights in snapshots.weights:
        logits = points[0] @ weights[0] + weights[1]
        mean = mean + torch.softmax(torch.tensor(logits), -1).numpy() / 3
    np.testing.assert_allclose(snapshots.predict(points[0], verbose=0), mean, atol=1e-6)
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), ends.weights[-1], strict=True)
    )


def test_a_snapshot_between_two_epochs_is_one(dense_model, points):
    snapshots = Snapshots([0.5, 1.0])
    dense_model(keras_dawn.SGD(0.1)).fit(
        *points, batch_size=40, epochs=3, callbacks=[snapshots], verbose=0
    )  # three steps, and the half of them is 1.5
    assert len(snapshots.weights) == 2
    x = torch.utils.data.TensorDataset(torch.as_tensor(points[0]))
    shuffled = torch.utils.data.DataLoader(x, shuffle=True)
    with pytest.raises(ValueError, match="shuffles itself"):
        snapshots.predict(shuffled)


def test_snapshots_survive_an_interruption(dense_model, points, tmp_path):
    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 4:
                raise RuntimeError("cut off")

    whole = Snapshots([0.2, 1.0])
    keras.utils.set_random_seed(2)
    train(dense_model(keras_dawn.SGD(0.1)), points, [whole])
    keras.utils.set_random_seed(2)
    with pytest.raises(RuntimeError):
        callbacks = [Snapshots([0.2, 1.0]), Cut(), ResumeTraining(tmp_path)]
        train(dense_model(keras_dawn.SGD(0.1)), points, callbacks)
    again = Snapshots([0.2, 1.0])
    train(dense_model(keras_dawn.SGD(0.1)), points, [again, ResumeTraining(tmp_path)])
    assert len(again.weights) == 2
    for ours, theirs in zip(again.weights, whole.weights, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_bad_use_is_named(dense_model, points):
    for at in ([], [0.5, 0.2], [0.0, 1.0], [1.5]):
        with pytest.raises(ValueError, match="increasing fractions"):
            Snapshots(at)
    with pytest.raises(ValueError, match="no snapshots yet"):
        Snapshots([1.0]).predict(points[0])
