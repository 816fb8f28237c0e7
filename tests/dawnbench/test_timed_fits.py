"""TimeToAccuracy in several fits, as in notebooks and loops."""

from keras_dawn import SGD, ResumeTraining, TimeToAccuracy, TrainingClock

import keras
import pytest

from tests.dawnbench.test_time_to_accuracy import Worker
from tests.resume.test_resume import Cut


def test_without_the_top_5_it_warns_and_the_training_goes_on(dense_model, points):
    timer = TimeToAccuracy(94.0, top5="val_top5", target_on="top5")
    with pytest.warns(UserWarning, match=r"no 'val_top5'.*val_accuracy"):
        dense_model(SGD(0.1)).fit(
            *points, epochs=2, validation_data=points, callbacks=[timer], verbose=0
        )
    assert timer.records == [] and timer.reached is None


def test_another_models_training_is_not_taken_for_the_same(dense_model, points):
    def fit(model):
        model.fit(*points, epochs=1, validation_data=points, callbacks=[timer], verbose=0)

    timer = TimeToAccuracy(1.0, stop_at_target=True)
    model = dense_model(SGD(0.1))
    fit(model)
    fit(model)  # a notebook's cell again: it goes on
    assert len(timer.records) == 2
    with pytest.raises(ValueError, match="another model's training, up to epoch 1"):
        fit(dense_model(SGD(0.1)))


def test_time_after_a_fit_that_was_cut_off_is_named(dense_model, points, fake_time):
    timer, model = TimeToAccuracy(50.0), dense_model(SGD(0.1))

    def fit(*callbacks):
        callbacks = [timer, Worker(fake_time), *callbacks]
        model.fit(*points, batch_size=4, epochs=1, callbacks=callbacks, verbose=0)

    with pytest.raises(RuntimeError, match="cut off"):
        fit(Cut(3))
    fake_time.pass_(3600)
    with pytest.warns(UserWarning, match="all the time since counts as training"):
        fit()
    fit()  # without a word


def test_a_restart_of_a_complete_training_adds_no_training_time(
    dense_model, points, fake_time, tmp_path
):
    found = []
    for loading in (2, 60):
        clock = TrainingClock()
        fake_time.pass_(loading)
        keras.utils.set_random_seed(1)
        timer = TimeToAccuracy(50.0, clock=clock)
        dense_model(SGD(0.1)).fit(
            *points, batch_size=4, epochs=2, validation_data=points, verbose=0,
            callbacks=[timer, Worker(fake_time), ResumeTraining(tmp_path)],
        )  # fmt: skip
        found.append((clock.training_seconds(), [vars(each) for each in timer.records]))
    assert found[0] == found[1]
