"""What is saved and restored by the metrics of a validation is what that validation saw."""

import keras_dawn
from keras_dawn import OneCycle, ParameterSchedule
from keras_dawn.callbacks import ExponentialMovingAverage

import keras
import numpy as np
import pytest

K = keras.callbacks
RANDOM = np.random.default_rng(0)
X, XV = (RANDOM.normal(size=(64, 8)).astype("float32") for _ in range(2))
Y, YV = ((x[:, 0] + 0.3 * RANDOM.normal(size=64) > 0).astype(int) for x in (X, XV))


def build(accelerated=True, rate=1.0):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    return keras_dawn.accelerate(model) if accelerated else model


def fit(model, callbacks, epochs=12):
    return model.fit(
        X, Y, 16, epochs=epochs, verbose=0, validation_data=(XV, YV), callbacks=callbacks
    )


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_the_best_average_is_saved_and_restored(first, accelerated, tmp_path):
    model, place = build(accelerated), str(tmp_path / "best.weights.h5")
    average = ExponentialMovingAverage(0.9)
    others = [
        K.ModelCheckpoint(place, "val_loss", save_best_only=True, save_weights_only=True),
        K.EarlyStopping("val_loss", patience=3, restore_best_weights=True),
    ]
    history = fit(model, [average, *others] if first else [*others, average])
    best = pytest.approx(min(history.history["val_loss"]), rel=1e-5)
    assert model.evaluate(XV, YV, verbose=0) == best
    model.load_weights(place)
    assert model.evaluate(XV, YV, verbose=0) == best


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("make", [OneCycle, lambda: ParameterSchedule({"momentum": lambda p: 0.5})])
def test_a_schedule_that_was_interrupted_is_undone_by_the_next(make, accelerated):
    def interrupt(batch, logs):
        raise KeyboardInterrupt

    model = build(accelerated, rate=0.1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [make(), K.LambdaCallback(on_train_batch_end=interrupt)])
    if accelerated:  # at once, and not only when the next begins
        assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
        assert model.optimizer.momentum == 0.9
    seen = []
    look = K.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(float(model.optimizer.learning_rate))
    )
    fit(model, [make(), look])
    assert max(seen) == pytest.approx(0.1, rel=0.01)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    assert model.optimizer.momentum == 0.9


@pytest.mark.parametrize("rival", [K.LearningRateScheduler(lambda e: 0.1), K.ReduceLROnPlateau()])
def test_a_second_setter_of_the_rate_is_named(rival):
    with pytest.raises(ValueError, match=f"OneCycle and {type(rival).__name__} would both set"):
        fit(build(), [rival, OneCycle()])
