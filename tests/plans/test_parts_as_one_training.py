"""`fine_tune` is one training to callbacks, in whatever process its parts are trained."""

import keras_dawn
from keras_dawn import ResumeTraining, fine_tune

import keras
import pytest

from tests.plans.test_fine_tuning import GROUPS, Killed, arrays, model, tuned


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
        callbacks = [log, stopping, Killed(kill), resume]
        try:
            history = fine_tune(
                made, x, y=y, batch_size=8, verbose=0, callbacks=callbacks, head_epochs=2,
                epochs=5, groups=GROUPS,
            )  # fmt: skip
        except EOFError:
            log.on_train_end()  # closes the file
            return None, None
        return history.epoch, (tmp_path / f"{name}.csv").read_bytes()

    epochs, rows = run("whole")
    assert epochs == [0, 1, 2, 3]
    run("cut", kill)
    for _ in range(2):  # once more when it is complete
        assert run("cut") == (epochs, rows)
