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


class Rates(K.Callback):
    """The rate of every step, and the end in an epoch."""

    def __init__(self, end=None):
        super().__init__()
        self.seen, self.end = [], end

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.end:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


def new_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss)
    return model


@pytest.mark.parametrize("first", [True, False])
def test_what_keras_restores_goes_on_in_the_same_cycle(first, tmp_path):
    def run(end=None):
        model, rates, cycle = new_model(), Rates(end), OneCycle()
        backup = K.BackupAndRestore(tmp_path)  # which loads the rate of the step that it saved at
        callbacks = [backup, cycle, rates] if first else [cycle, backup, rates]
        model.fit(X, Y, 32, epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
        return model, rates.seen

    expected, whole = run()
    with pytest.raises(KeyboardInterrupt):
        run(end=2)
    found, rest = run()
    assert rest == whole[4:]
    assert float(found.optimizer.learning_rate) == pytest.approx(0.1)
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("given", [True, False])
def test_a_model_that_was_saved_within_its_cycle_may_have_the_rate_of_a_step(given, tmp_path):
    model, rates = new_model(), Rates(2)
    saving = K.ModelCheckpoint(tmp_path / "model.keras")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, 32, epochs=4, verbose=0, callbacks=[OneCycle(), saving, rates])
    loaded = keras.models.load_model(tmp_path / "model.keras")
    settings = {"initial_epoch": 2, "epochs": 4, "verbose": 0}
    if given:
        loaded.fit(X, Y, 32, callbacks=[OneCycle(0.1), found := Rates()], **settings)
    else:
        with pytest.warns(UserWarning, match="rate of a step: give `max_lr`"):
            loaded.fit(X, Y, 32, callbacks=[OneCycle(), found := Rates()], **settings)
    # In this process the schedule sets back what was compiled.
    model.fit(X, Y, 32, callbacks=[OneCycle(), again := Rates()], **settings)
    assert (found.seen == pytest.approx(again.seen)) == given


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_cycle_that_is_entered_after_a_plain_fit_has_the_compiled_rate(accelerated):
    model = keras_dawn.accelerate(new_model()) if accelerated else new_model()
    model.fit(X, Y, 32, epochs=1, verbose=0)
    model.fit(X, Y, 32, initial_epoch=1, epochs=2, verbose=0)
    rates = Rates()  # nothing was cut off, and nothing is said
    model.fit(X, Y, 32, initial_epoch=2, epochs=4, verbose=0, callbacks=[OneCycle(), rates])
    expected = OneCycle(0.1).values(4, 2, initial_epoch=2)["learning_rate"]
    assert rates.seen == pytest.approx(expected)
