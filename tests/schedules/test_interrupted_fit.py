"""After Ctrl-C in a notebook the next cell begins as the one before did."""

import keras_dawn
from keras_dawn import OneCycle, ResumeTraining

import keras
import numpy as np
import pytest

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(0).integers(0, 3, 64)
K = keras.callbacks


class Interrupt(K.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            raise KeyboardInterrupt


class Highest(K.Callback):
    rate = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.rate = max(self.rate, float(self.model.optimizer.learning_rate))


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return keras_dawn.accelerate(model)


def fit(model, *callbacks):
    model.fit(X, Y, 8, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize("resumes", [True, False])
def test_hyper_parameters_and_the_next_cycle_are_as_before(model, resumes, tmp_path):
    others = [ResumeTraining(tmp_path)] if resumes else []
    stopping, schedule = K.EarlyStopping("loss", patience=5), OneCycle()
    with pytest.raises(KeyboardInterrupt):
        fit(model, schedule, stopping, *others, Interrupt())
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    assert model.optimizer.momentum == pytest.approx(0.9)
    for again in (schedule, OneCycle()):  # the same objects, and the cell run again
        highest = Highest()
        fit(model, again, stopping, highest)
        assert highest.rate == pytest.approx(0.1, rel=1e-2) and stopping.wait == 0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)


@pytest.mark.parametrize("rival", [K.LearningRateScheduler(lambda e: 0.1), K.ReduceLROnPlateau()])
@pytest.mark.parametrize("first", [True, False])
def test_a_second_schedule_of_the_rate_is_named(model, rival, first):
    callbacks = [rival, OneCycle()] if first else [OneCycle(), rival]
    with pytest.raises(ValueError, match=f"OneCycle and {type(rival).__name__} would both set"):
        fit(model, *callbacks)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
