from keras_dawn import SGD, OneCycle, OneCycleSchedule
from keras_dawn.schedules.one_cycle_shapes import one_cycle

import keras
import numpy as np
import pytest

from tests.schedules.test_parameter_schedule import Spy


@pytest.mark.parametrize("in_a_list", [True, False])
def test_rate_and_momentum_follow_the_cycle(dense_model, points, in_a_list):
    model = dense_model(SGD(0.5, momentum=0.9))
    if in_a_list:
        spy = Spy("learning_rate", "momentum")
        callbacks = [OneCycle(), spy]
    else:

        class SpyingOneCycle(OneCycle):
            def on_train_batch_begin(self, batch, logs=None):
                super().on_train_batch_begin(batch, logs)
                self.spy.on_train_batch_begin(batch)

        callbacks = SpyingOneCycle()
        spy = callbacks.spy = Spy("learning_rate", "momentum")
        spy.set_model(model)
    model.fit(*points, epochs=5, batch_size=10, callbacks=callbacks, verbose=0)
    rate = one_cycle(0.5, total_steps=20)  # 0.5 is the compiled rate
    assert spy.seen["learning_rate"] == pytest.approx([rate(i / 20) for i in range(20)], rel=1e-6)
    assert spy.seen["momentum"][0] == 0.95
    assert min(spy.seen["momentum"]) == pytest.approx(0.85, abs=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
        lambda: keras.optimizers.AdamW(),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01, momentum=0.9)),
    ],
)
def test_fit_on_a_stock_model_with_stock_optimizers(optimizer):
    model = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=3
    )
    model.compile(optimizer(), loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    history = model.fit(
        x, np.arange(8) % 3, batch_size=4, epochs=3, callbacks=[OneCycle()], verbose=0
    ).history
    assert len(history["learning_rate"]) == len(history["momentum"]) == 3
    assert np.isfinite(history["loss"]).all()


def test_sgd_without_momentum_keeps_none_and_says_so(dense_model, points):
    model = dense_model(keras.optimizers.SGD(0.01))
    with pytest.warns(UserWarning, match="without momentum"):
        history = model.fit(*points, callbacks=[OneCycle()], verbose=0).history
    assert "momentum" not in history
    with pytest.raises(ValueError, match="momentum=0"):
        model.fit(*points, callbacks=[OneCycle(momentum=(0.95, 0.85))], verbose=0)


def test_schedule_free_keeps_its_beta_1(dense_model, points):
    # By which it takes its weights apart that it put together in the step before.
    model = dense_model(keras.optimizers.ScheduleFreeAdamW(0.01))
    with pytest.warns(UserWarning, match="ScheduleFreeAdamW has no momentum"):
        history = model.fit(*points, callbacks=[OneCycle()], verbose=0).history
    assert "beta_1" not in history and "momentum" not in history


def test_momentum_none_leaves_momentum_alone(dense_model, points):
    model = dense_model(SGD(0.1, momentum=0.7))
    spy = Spy("momentum")
    model.fit(*points, callbacks=[OneCycle(momentum=None), spy], verbose=0)
    assert set(spy.seen["momentum"]) == {0.7}


def test_a_rate_schedule_is_refused(dense_model, points):
    model = dense_model(keras.optimizers.SGD(OneCycleSchedule(0.1, 10)))
    with pytest.raises(ValueError, match="schedule object"):
        model.fit(*points, callbacks=[OneCycle()], verbose=0)


@pytest.mark.parametrize("max_lr", [-1.0, 0.0, "cosine", True, [0.1]])
def test_bad_max_lr_is_refused(max_lr):
    with pytest.raises(ValueError, match="max_lr"):
        OneCycle(max_lr)


def test_an_uncompiled_model_is_refused():
    callback = OneCycle()
    callback.set_model(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="compiled"):
        callback.on_train_begin()


class TestOneCycleSchedule:
    def test_equals_the_callback_step_by_step(self, dense_model, points):
        model = dense_model(keras.optimizers.SGD(OneCycleSchedule(0.1, 20, "three_phase")))
        spy = Spy()
        rates = []
        spy.on_train_batch_begin = lambda *a, **k: rates.append(
            float(model.optimizer.learning_rate)
        )
        model.fit(*points, epochs=5, batch_size=10, callbacks=[spy], verbose=0)
        expected = OneCycle(0.1, "three_phase").values(5, 4)["learning_rate"]
        assert rates == pytest.approx(expected, rel=1e-6)

    def test_later_steps_keep_the_last_rate(self):
        schedule = OneCycleSchedule(0.1, 10)
        assert float(schedule(9)) == float(schedule(500))

    def test_survives_a_keras_file(self, dense_model, points, tmp_path):
        model = dense_model(SGD(OneCycleSchedule(0.1, 20, "dawnbench", tail_fraction=0.25)))
        model.fit(*points, epochs=1, batch_size=10, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate)
        assert loaded.optimizer.get_config() == model.optimizer.get_config()

    @pytest.mark.parametrize("total_steps", ["10", 10.5, None, True, 0])
    def test_a_length_that_is_no_number_of_steps_is_refused(self, total_steps):
        with pytest.raises(ValueError, match="`total_steps` must be"):
            OneCycleSchedule(0.1, total_steps)

    def test_momentum_is_refused(self):
        with pytest.raises(ValueError, match="callback OneCycle"):
            OneCycleSchedule(0.1, 10, momentum=(0.9, 0.8))
