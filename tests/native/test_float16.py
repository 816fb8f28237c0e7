"""float16 with loss scaling: bad batches are skipped without a trace, the scale adapts itself."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.test_training import network


class TestFloat16:
    def model(self):
        keras.config.set_dtype_policy("mixed_float16")
        keras.utils.set_random_seed(0)
        model = network()
        model.compile(
            keras.optimizers.LossScaleOptimizer(
                keras_dawn.SGD(0.1, weight_decay=1e-3), initial_scale=1024.0, dynamic_growth_steps=3
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return keras_dawn.accelerate(model)

    def batch(self, bad=False):
        x = np.random.default_rng(0).normal(size=(10, 8, 8, 3)).astype("float32")
        if bad:
            x[0, 0, 0, 0] = np.inf
        return x, np.arange(10) % 5

    def test_a_bad_batch_is_skipped_and_leaves_no_trace(self):
        model = self.model()
        model.train_on_batch(*self.batch())
        optimizer = model.optimizer
        before = [w.copy() for w in model.get_weights()]
        velocities = [v.numpy().copy() for v in optimizer.inner_optimizer.variables]
        model.train_on_batch(*self.batch(bad=True))
        assert float(optimizer.dynamic_scale) == 512.0 and int(optimizer.step_counter) == 0
        assert int(optimizer.iterations) == 1
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)  # moving averages too
        for old, new in zip(velocities, optimizer.inner_optimizer.variables, strict=True):
            np.testing.assert_array_equal(old, new.numpy())

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras_dawn.SGD(0.1, weight_decay=0.1),
            lambda: keras_dawn.SGD(0.1, momentum=0.0, weight_decay=0.1),
            lambda: keras_dawn.SGD(0.1, weight_decay=0.1, decoupled=True),
            lambda: keras.optimizers.SGD(0.1, weight_decay=0.1),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, clipnorm=1.0),
            lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
            lambda: keras_dawn.optimizers.LARS(0.1, weight_decay=0.1),
            lambda: keras_dawn.optimizers.Muon(0.1, weight_decay=0.1),
        ],
        ids=["coupled", "coupled without momentum", "decoupled", "Keras SGD", "clipped",
             "AdamW", "LARS", "Muon"],
    )  # fmt: skip
    def test_a_bad_batch_decays_no_weight_and_moves_no_state(self, optimizer):
        keras.config.set_dtype_policy("mixed_float16")
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.BatchNormalization(),
                layers.Dense(4, bias_initializer="ones", name="head"),
            ]
        )
        model.compile(
            keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=1024.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        keras_dawn.accelerate(model)
        x, y = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 4
        watched = [*model.variables, *model.optimizer.inner_optimizer.variables]
        place = [v.path.endswith("head/kernel") for v in watched].index(True)
        states = []
        for bad in (False, True, False):
            x[0, 0] = np.inf if bad else 0.5
            model.train_on_batch(x, y)
            states.append([v.numpy().copy() for v in watched])
        for variable, old, new in zip(watched, states[0], states[1], strict=True):
            np.testing.assert_array_equal(old, new, err_msg=variable.path)
        before, after = (kept[place] for kept in states[1:])
        assert np.isfinite(after).all() and np.abs(after - before).max() > 1e-6  # it goes on

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras_dawn.SGD(0.1),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9),
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
        ],
        ids=["torch's form", "Keras's form", "clipped"],
    )
    @pytest.mark.parametrize("scale", [1.0, 4096.0])
    def test_the_scale_is_taken_out_of_the_step(self, optimizer, scale):
        keras.config.set_dtype_policy("mixed_float16")
        x, y = np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), np.arange(8) % 4
        moved = []
        for native in (True, False):
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
            model.compile(
                keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=scale),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
            if native:
                keras_dawn.accelerate(model)
            before = model.get_weights()[0].copy()
            for _ in range(2):
                model.train_on_batch(x, y)
            moved.append(model.get_weights()[0] - before)
        np.testing.assert_allclose(*moved, rtol=2e-3, atol=2e-3 * np.abs(moved[1]).max())

    def test_the_scale_doubles_after_enough_good_steps(self):
        model = self.model()
        for _ in range(3):
            model.train_on_batch(*self.batch())
        assert float(model.optimizer.dynamic_scale) == 2048.0
        assert int(model.optimizer.step_counter) == 0
        assert int(model.optimizer.iterations) == 3

    def test_losses_follow_plain_keras(self):
        ours, plain = self.model(), keras_dawn.restore(self.model())
        for _ in range(4):
            one, other = ours.train_on_batch(*self.batch()), plain.train_on_batch(*self.batch())
            assert one == pytest.approx(other, rel=5e-3)

    @pytest.mark.parametrize("make", [keras.optimizers.Adam, keras_dawn.optimizers.Muon])
    def test_other_optimizers_skip_a_bad_batch_too(self, make):
        keras.config.set_dtype_policy("mixed_float16")
        model = network()
        model.compile(make(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        keras_dawn.accelerate(model)
        model.fit(*self.batch(bad=True), verbose=0)
        assert int(model.optimizer.iterations) == 0
        assert float(model.optimizer.dynamic_scale) == 2.0**14
        model.fit(*self.batch(), epochs=2, verbose=0)
        assert keras_dawn.explain(model).optimizer == "native"
        assert int(model.optimizer.iterations) == 2
        assert all(np.isfinite(w).all() for w in model.get_weights())
