import time

from keras_dawn import SGD, ResumeTraining, TimeToAccuracy, TrainingClock
from keras_dawn.resume import checkpoint_file

import keras
import pytest

from tests.resume.test_resume import Cut


class TestTrainingClock:
    def test_stands_still_while_paused(self, fake_time):
        clock = TrainingClock()
        fake_time.pass_(5)
        with clock.paused():
            fake_time.pass_(3)
            clock.pause()  # twice is as once
            fake_time.pass_(4)
            assert clock.training_seconds() == 5
        fake_time.pass_(1)
        clock.resume()
        assert (clock.training_seconds(), clock.wall_seconds()) == (6, 13)

    def test_counts_what_went_before(self, fake_time):
        clock = TrainingClock(elapsed_seconds=7)
        fake_time.pass_(1)
        assert (clock.training_seconds(), clock.wall_seconds()) == (8, 8)


class Worker(keras.callbacks.Callback):
    """Lets fake time pass: 10 s a training batch, 100 s a test batch, 1000 s at the epoch's end."""

    def __init__(self, fake_time):
        super().__init__()
        self.time = fake_time

    def on_train_batch_begin(self, batch, logs=None):
        self.time.pass_(10)

    def on_test_batch_begin(self, batch, logs=None):
        self.time.pass_(100)

    def on_epoch_end(self, epoch, logs=None):
        self.time.pass_(1000)  # a checkpoint


def test_validation_and_checkpoints_stand_outside_the_training_clock(
    dense_model, points, fake_time
):
    clock = TrainingClock()
    fake_time.pass_(2)  # loading the data
    timer = TimeToAccuracy(50.0, price_per_hour=36.0, clock=clock)
    history = dense_model(SGD(0.1)).fit(
        *points, batch_size=20, epochs=3, validation_data=points, validation_batch_size=40,
        callbacks=[timer, Worker(fake_time)], verbose=0,
    ).history  # fmt: skip
    assert history["training_seconds"] == [22, 42, 62]
    assert history["wall_seconds"] == [122, 1242, 2362]
    assert history["cost_usd"] == pytest.approx([0.22, 0.42, 0.62])
    assert clock.training_seconds() == 62
    assert [record.training_seconds for record in timer.records] == [22, 42, 62]


def drive(timer, accuracies):
    """Feeds epochs to the callback as `fit` would."""
    timer.set_model(keras.Model())
    timer.model.stop_training = False
    timer.on_train_begin()
    for epoch, accuracy in enumerate(accuracies):
        timer.on_epoch_begin(epoch)
        timer.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_top5": 0.99})
        if timer.model.stop_training:
            break
    timer.on_train_end()


def test_the_first_epoch_at_the_target_counts():
    timer = TimeToAccuracy(94.0, top5="val_top5")
    drive(timer, [0.5, 0.9401, 0.93, 0.95])
    assert timer.reached.epoch == 1 and len(timer.records) == 4
    assert timer.reached.accuracy == pytest.approx(94.01)
    assert timer.reached.top5_accuracy == pytest.approx(99.0)


def test_the_target_may_be_one_of_the_top_5():
    timer = TimeToAccuracy(93.0, top5="val_top5", target_on="top5", stop_at_target=True)
    drive(timer, [0.2, 0.96])
    assert timer.reached.epoch == 0 and timer.reached.accuracy == pytest.approx(20.0)
    timer = TimeToAccuracy(99.5, top5="val_top5", target_on="top5")
    drive(timer, [0.2, 0.999])
    assert timer.reached is None
    with pytest.raises(ValueError, match="`target_on`"):
        TimeToAccuracy(93.0, target_on="top5")


def test_exactly_the_target_in_float32_is_the_target():
    import numpy as np

    timer = TimeToAccuracy(94.0)
    drive(timer, [np.float32(0.94)])  # 0.93999998
    assert timer.reached is not None


def test_stops_at_the_target_if_asked():
    timer = TimeToAccuracy(94.0, stop_at_target=True)
    drive(timer, [0.5, 0.945, 0.96])
    assert len(timer.records) == 2


def test_without_the_top5_metric_it_warns_too(dense_model, points):
    timer = TimeToAccuracy(94.0, top5="val_top5")
    with pytest.warns(UserWarning, match=r"no 'val_top5'.*val_accuracy"):
        dense_model(SGD(0.1)).fit(*points, validation_data=points, callbacks=[timer], verbose=0)
    assert not timer.records


def test_without_the_metric_it_warns_once_and_names_what_there_is(dense_model, points):
    timer = TimeToAccuracy(94.0, monitor="val_acc")
    with pytest.warns(UserWarning, match=r"no 'val_acc'.*val_accuracy") as warned:
        dense_model(SGD(0.1)).fit(
            *points, epochs=2, validation_data=points, callbacks=[timer], verbose=0
        )
    ours = [w for w in warned if "TimeToAccuracy" in str(w.message)]
    assert len(ours) == 1 and timer.records == []


def test_without_a_clock_the_training_alone_is_timed(dense_model, points):
    timer = TimeToAccuracy(94.0)
    begun = time.perf_counter()
    dense_model(SGD(0.1)).fit(*points, validation_data=points, callbacks=[timer], verbose=0)
    assert 0 < timer.records[0].training_seconds < time.perf_counter() - begun


@pytest.mark.parametrize("target", [0.94, 0, 101, -5])
def test_targets_are_percentages(target):
    with pytest.raises(ValueError, match="from 1 to 100"):
        TimeToAccuracy(target)


def test_a_fraction_gets_a_hint():
    with pytest.raises(ValueError, match="Did you mean 94"):
        TimeToAccuracy(0.94)


def test_prices_below_zero_are_refused():
    with pytest.raises(ValueError, match="price"):
        TimeToAccuracy(94.0, price_per_hour=-1.0)


def test_time_of_lives_that_were_killed_within_an_epoch_counts_once(
    dense_model, points, fake_time, tmp_path
):
    began = fake_time.now
    for cut in (3, 2, 2, None):
        keras.utils.set_random_seed(1)
        callbacks = [TimeToAccuracy(50.0), Worker(fake_time), Cut(cut)]
        resume = ResumeTraining(tmp_path, every_steps=1)
        try:
            history = dense_model(SGD(0.1)).fit(
                *points, batch_size=4, epochs=1, callbacks=[*callbacks, resume], verbose=0
            )
        except RuntimeError as error:
            assert "cut off" in str(error)
    steps = -(-len(points[0]) // 4)
    assert steps > 7
    assert history.history["training_seconds"] == [10 * steps]
    assert history.history["wall_seconds"][0] <= fake_time.now - began


@pytest.mark.parametrize("same", ["timer", "clock"])
def test_time_of_tries_of_one_process_counts_once(same, dense_model, points, fake_time, tmp_path):
    clock = TrainingClock()
    fake_time.pass_(2)  # loading the data
    timer, model = TimeToAccuracy(50.0, clock=clock), dense_model(SGD(0.1))
    for cut in (3, 2, None):
        keras.utils.set_random_seed(1)
        if same == "clock":  # as in a notebook, whose cell before has made it
            timer = TimeToAccuracy(50.0, clock=clock)
        callbacks = [timer, Worker(fake_time), Cut(cut), ResumeTraining(tmp_path, every_steps=1)]
        try:
            model.fit(
                *points, batch_size=4, epochs=2, validation_data=points,
                validation_batch_size=40, callbacks=callbacks, verbose=0,
            )  # fmt: skip
        except RuntimeError as error:
            assert "cut off" in str(error)
            fake_time.pass_(3600)  # until the cell is run again
    steps = -(-len(points[0]) // 4)
    history = model.history.history
    assert history["training_seconds"] == [2 + 10 * steps, 2 + 20 * steps]
    assert [each.training_seconds for each in timer.records] == history["training_seconds"]
    assert history["wall_seconds"][0] == 2 + 10 * steps + 100


def test_saving_within_an_epoch_stands_outside_the_training_clock(
    dense_model, points, fake_time, tmp_path, monkeypatch
):
    real = checkpoint_file.write

    def write(path, state):
        fake_time.pass_(1000)
        real(path, state)

    monkeypatch.setattr(checkpoint_file, "write", write)
    timer, resume = TimeToAccuracy(50.0), ResumeTraining(tmp_path, every_steps=2)
    callbacks = [timer, Worker(fake_time), resume]
    model = dense_model(SGD(0.1))
    history = model.fit(*points, 4, epochs=2, callbacks=callbacks, verbose=0).history
    steps = -(-len(points[0]) // 4)
    assert history["training_seconds"] == [10 * steps, 20 * steps]
    assert history["wall_seconds"][0] == 10 * steps + 1000 * ((steps - 1) // 2)


def test_a_pause_within_a_pause_leaves_the_clock_paused(fake_time):
    clock = TrainingClock()
    clock.pause()
    with clock.paused():
        fake_time.pass_(3)
    fake_time.pass_(4)
    assert clock.is_paused and clock.training_seconds() == 0
