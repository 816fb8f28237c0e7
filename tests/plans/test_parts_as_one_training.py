"""`fine_tune` is one training to callbacks, in whatever process its parts are trained."""

import keras_dawn
from keras_dawn import ParameterSchedule, ResumeTraining, fine_tune
from keras_dawn.callbacks import (
    ExponentialMovingAverage,
    LayerStatistics,
    Snapshots,
    StochasticWeightAveraging,
)
from keras_dawn.schedules import linear

import keras
import numpy as np
import pytest

from tests.plans.test_fine_tuning import GROUPS, Killed, Watch, arrays, model, tuned


@pytest.mark.parametrize("accelerated", [True, False])
def test_to_callbacks_it_is_one_training(accelerated, tmp_path):
    ends = []
    own = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: ends.append("begins"),
        on_train_end=lambda logs: ends.append("ends"),
    )
    stopping = keras.callbacks.EarlyStopping("loss", min_delta=9, patience=3)
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    _, _, history, _ = tuned(accelerated, head_epochs=2, epochs=4, callbacks=[own, stopping, log])
    assert ends == ["begins", "ends"] and history.epoch == [0, 1, 2, 3]  # the best is the first
    rows = (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == list("0123") and log.csv_file.closed
    assert "on_train_end" not in vars(stopping)
    own.on_train_end(None)
    assert len(ends) == 3  # it has its own again


def test_who_stops_it_within_the_head_stops_all_of_it():
    class Stop(keras.callbacks.Callback):
        ended = 0

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            self.ended += 1

    stop = Stop()
    _, _, history, _ = tuned(head_epochs=3, epochs=2, callbacks=[stop])
    assert history.epoch == [0, 1] and stop.ended == 1


@pytest.mark.parametrize("kill", [3, "part", 16])
def test_a_killed_one_loses_no_rows_and_waits_as_long(kill, tmp_path):
    def run(name, kill=None):
        made, (x, y) = keras_dawn.accelerate(model()), arrays()
        log = keras.callbacks.CSVLogger(tmp_path / f"{name}.csv")
        stopping = keras.callbacks.EarlyStopping("loss", min_delta=9, patience=3)
        resume = ResumeTraining(tmp_path / name, every_steps=2)
        average = ExponentialMovingAverage(0.8)
        callbacks = [log, stopping, Killed(kill), resume, average]
        try:
            history = fine_tune(
                made, x, y=y, batch_size=8, verbose=0, callbacks=callbacks, head_epochs=2,
                epochs=5, groups=GROUPS,
            )  # fmt: skip
        except EOFError:
            log.on_train_end()  # closes the file
            return None
        weights = [v.numpy().tolist() for v in made.variables]
        return history.epoch, (tmp_path / f"{name}.csv").read_bytes(), weights

    expected = run("whole")
    assert expected[0] == [0, 1, 2, 3]
    run("cut", kill)
    for _ in range(2):  # once more when it is complete
        assert run("cut") == expected


def test_a_fraction_of_the_training_is_one_of_all_its_parts():
    watch, snapshots = Watch(), Snapshots([0.5, 1.0])
    averaging = StochasticWeightAveraging(arrays()[0], start=0.5)
    statistics = LayerStatistics(*arrays(), every_steps=6, layers=["a_dense"])
    callbacks = [watch, snapshots, averaging, statistics]
    made, _, _, _ = tuned(head_epochs=1, epochs=3, callbacks=callbacks)
    for callback in callbacks:
        assert callback.params["epochs"] == 4
    places = {v.path: place for place, v in enumerate(made.weights)}
    for path in ("a_dense/kernel", "head/kernel"):
        epochs = [weights[path] for weights in watch.weights]
        for taken, epoch in zip(snapshots.weights, (1, 3), strict=True):
            np.testing.assert_array_equal(taken[places[path]], epochs[epoch])
        found = made.get_weights()[places[path]]
        np.testing.assert_allclose(found, (epochs[2] + epochs[3]) / 2, rtol=1e-5)
    assert [row["step"] for row in statistics.rows] == [0, 6, 12, 18, 24]
    slopes = [row["gradient_norm"] for row in statistics.rows]
    assert slopes[0] == 0 and min(slopes[2:]) > 0  # its layer was frozen at first


def test_a_schedule_goes_through_all_parts_in_a_class_of_ones_own_too():
    class Decay(ParameterSchedule):
        seen = ()

        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)
            self.seen += (self.model.optimizer.weight_decay,)

    decay = Decay({"weight_decay": linear(0.0, 1.0)})
    made, _, _, _ = tuned(head_epochs=1, epochs=2, callbacks=[decay])
    assert decay.seen == pytest.approx([step / 18 for step in range(18)])
    assert made.optimizer.weight_decay == model().optimizer.weight_decay


class Steps(keras.callbacks.Callback):
    """The head's weights after each step, and whether to stop after an epoch."""

    def __init__(self, stop=None):
        super().__init__()
        self.after, self.stop = [], stop

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.model.get_layer("head").kernel.numpy())

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self.stop


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("stop", [None, 0])
def test_an_average_goes_through_all_parts_and_ends_with_the_last(stop, validated):
    steps, average = Steps(stop), ExponentialMovingAverage(0.8)
    settings = {"validation_data": arrays()} if validated else {}
    settings = {"head_epochs": 2, "epochs": 1, **settings}
    tuned(callbacks=[alone := Steps(stop)], **settings)
    made, _, _, _ = tuned(callbacks=[steps, average], **settings)
    assert len(steps.after) == (18 if stop is None else 6)
    np.testing.assert_array_equal(steps.after, alone.after)
    expected = steps.after[0]
    for weights in steps.after[1:]:
        expected = 0.8 * expected + 0.2 * weights
    np.testing.assert_allclose(made.get_layer("head").kernel.numpy(), expected, rtol=1e-4)
    assert not average.goes_on
