"""Loss scaling in a `train_step` of one's own: fused, and as in plain Keras."""

import keras_dawn
from keras_dawn.native.steps.loss_scaling import LossScaling

import keras
import numpy as np
import pytest
import torch
from keras import layers, optimizers

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 6)).astype("float32"), RANDOM.normal(size=(40, 3)).astype("float32")
X[24, 0] = np.inf  # in the fourth of five batches


class OwnStep(keras.Sequential):
    def train_step(self, data):
        x, y = data
        loss = keras.ops.mean((self(x, training=True) - y) ** 2)
        self.zero_grad()
        self.optimizer.scale_loss(loss).backward()
        weights = self.trainable_weights
        grads = [v.value.grad for v in weights]
        before = [g.clone() for g in grads]
        with torch.no_grad():
            self.optimizer.apply(grads, weights)
        for one, other in zip(before, grads, strict=True):  # they are still the user's
            assert torch.equal(one, other) or not bool(torch.isfinite(other).all())
        return {"loss": loss}


def own(weights):
    return weights * 0.99


def trained(make, accelerated, constraint=None):
    keras.utils.set_random_seed(0)
    first = layers.Dense(5, "tanh", kernel_constraint=constraint)
    model = OwnStep([keras.Input((6,)), first, layers.Dense(3)])
    optimizer = optimizers.LossScaleOptimizer(make(), initial_scale=1024.0, dynamic_growth_steps=3)
    model.compile(optimizer)
    if accelerated:
        keras_dawn.accelerate(model)
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, clipnorm=1.0),
        lambda: optimizers.Adam(0.01),
        lambda: optimizers.AdamW(0.01, use_ema=True),
        lambda: optimizers.RMSprop(0.01),
        lambda: keras_dawn.SGD(0.1),
    ],
    ids=["SGD", "Adam", "AdamW", "RMSprop", "our SGD"],
)
@pytest.mark.parametrize("constraint", [None, "max_norm"])
def test_it_is_fused_and_skips_halves_and_doubles_as_plain_keras_does(
    make, constraint, monkeypatch
):
    steps, plain_step = [], LossScaling.step

    def step(self, gradients):
        steps.append(plain_step(self, gradients))

    monkeypatch.setattr(LossScaling, "step", step)
    native, plain = (trained(make, accelerated, constraint) for accelerated in (True, False))
    assert [bool(skipped) for skipped in steps] == ([False] * 3 + [True, False]) * 2
    found = [
        [*model.variables, *model.optimizer.variables, model.optimizer.iterations]
        for model in (native, plain)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(
            one.numpy(), other.numpy(), rtol=2e-5, atol=1e-6, err_msg=one.path
        )
    # Twice three good steps in a row and one bad one in each epoch.
    assert float(native.optimizer.dynamic_scale) == float(plain.optimizer.dynamic_scale)
    assert keras_dawn.explain(native).optimizer == "native"


def test_a_constraint_of_ones_own_is_said_and_stays_keras_s():
    native, plain = (trained(lambda: optimizers.SGD(0.1), which, own) for which in (True, False))
    for one, other in zip(native.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)
    reason = keras_dawn.explain(native).optimizer
    assert reason == "its own apply: a constraint of one's own under loss scaling"


def test_loss_scaling_of_ones_own_is_said():
    class Own(optimizers.LossScaleOptimizer):
        pass

    model = OwnStep([keras.Input((6,)), layers.Dense(3)])
    model.compile(Own(optimizers.SGD(0.1)))
    keras_dawn.accelerate(model).fit(X[:8], Y[:8], verbose=0)
    assert keras_dawn.explain(model).optimizer == "its own apply: Own steps by its own code"


def test_an_optimizer_that_never_steps_is_not_named():
    class Other(keras.Sequential):
        def train_step(self, data):
            weights = self.trainable_weights
            with torch.no_grad():
                self.mine.apply([torch.ones_like(v.value) for v in weights], weights)
            return {}

    model = Other([keras.Input((6,)), layers.Dense(3)])
    model.compile(optimizers.SGD(0.1))
    model.second, model.mine = optimizers.SGD(0.1), optimizers.SGD(0.1)
    for optimizer in (model.second, model.mine, model.optimizer):
        optimizer.build(model.trainable_weights)
    optimizer = model.optimizer
    object.__setattr__(optimizer, "update_step", lambda *args: None)  # somebody's own
    keras_dawn.accelerate(model)
    model.fit(X[:8], Y[:8], verbose=0)
    assert keras_dawn.explain(model).optimizer == "native"
