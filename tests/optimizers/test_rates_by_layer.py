"""Rates and decays by layer, for every optimizer of Keras, plain and fused."""

import keras_dawn
from keras_dawn.optimizers import LARS, SGD, Muon, layerwise
from keras_dawn.optimizers.layerwise import CLASSES

import keras
import numpy as np
import pytest
import torch

RATES, DECAYS = {"^first/": 0.1, "^second/kernel": 0.0}, {"/bias": 0.0, "^third/": 3.0}
SETTINGS = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.9}}


def model(optimizer):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((5,))
    for name in ("first", "second"):
        x = keras.layers.Dense(6, "tanh", name=name)(x)
    made = keras.Model(inputs, keras.layers.Dense(3, name="third")(x))
    made.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def data(batches=6):
    random = np.random.default_rng(0)
    x = random.normal(size=(8 * batches, 5)).astype("float32")
    return x, random.integers(0, 3, 8 * batches)


def trained(optimizer, accelerated):
    made = model(optimizer)
    if accelerated:
        keras_dawn.accelerate(made)
    made.fit(*data(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    return {v.path: v.numpy() for v in made.trainable_variables}


def make(name, factor=1.0, decay=1.0):
    kind = getattr(keras.optimizers, name)
    return kind(0.02 * factor, weight_decay=0.05 * decay, **SETTINGS.get(name, {}))


class OneForEach:
    """The oracle: every variable has an optimizer of its own, with its own rate and decay."""

    def __init__(self, name):
        self.name, self.optimizers = name, {}

    def weights(self):
        made = model("sgd")
        for variable in made.trainable_variables:
            factor = {"first": 0.1}.get(variable.path.split("/")[0], 1.0)
            decay = 0.0 if "bias" in variable.path else 3.0 if "third" in variable.path else 1.0
            self.optimizers[variable.path] = make(self.name, factor, decay)
        x, y = data()
        for _ in range(2):
            for start in range(0, len(x), 8):
                loss = made.compute_loss(
                    y=torch.as_tensor(y[start : start + 8]), y_pred=made(x[start : start + 8])
                )
                made.zero_grad()
                loss.backward()
                for variable in made.trainable_variables:
                    if variable.path != "second/kernel":
                        gradient = variable.value.grad
                        self.optimizers[variable.path].apply([gradient], [variable])
        return {v.path: v.numpy() for v in made.trainable_variables}


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("Muon", "Lamb")])
def test_steps_are_those_of_an_optimizer_for_each_variable(name):
    expected = OneForEach(name).weights()
    for accelerated in (False, True):
        found = trained(layerwise(make(name), RATES, DECAYS), accelerated)
        for path in expected:
            np.testing.assert_allclose(
                found[path], expected[path], atol=2e-5, err_msg=f"{path} {accelerated}"
            )


@pytest.mark.parametrize("name", CLASSES)
def test_an_accelerated_model_steps_fused_and_as_plain_keras_does(name):
    plain = trained(layerwise(make(name), RATES, DECAYS), accelerated=False)
    made = keras_dawn.accelerate(model(layerwise(make(name), RATES, DECAYS)))
    before = made.get_layer("second").kernel.numpy()
    made.fit(*data(), batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert made.optimizer.iterations.numpy() == 12
    assert (
        "step" not in str(keras_dawn.explain(made)).lower() or keras_dawn.explain(made).is_whole()
    )
    for variable in made.trainable_variables:
        np.testing.assert_allclose(variable.numpy(), plain[variable.path], atol=2e-5)
    np.testing.assert_array_equal(made.get_layer("second").kernel.numpy(), before)


@pytest.mark.parametrize("name", CLASSES)
def test_without_patterns_it_is_the_optimizer_itself(name):
    expected = trained(make(name), accelerated=True)
    found = trained(layerwise(make(name)), accelerated=True)
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], atol=1e-6)


def test_it_is_saved_with_a_model(tmp_path):
    made = model(layerwise(keras.optimizers.AdamW(1e-3), RATES, DECAYS))
    made.fit(*data(1), verbose=0)
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer).__name__ == "LayerwiseAdamW"
    assert again.optimizer.rate_multipliers == RATES
    assert again.optimizer.decay_multipliers == DECAYS
    for one, other in zip(made.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("make", [SGD, LARS, Muon, keras.optimizers.Adam])
@pytest.mark.parametrize("accelerated", [False, True])
def test_a_pattern_that_matches_nothing_is_an_error_that_lists_the_names(make, accelerated):
    for rates, decays in (({"layer9": 0.1}, {}), ({}, {"layer9": 0.1})):
        with pytest.raises(ValueError, match="'layer9' of .*matches no.*first/kernel, first/bias"):
            trained(layerwise(make(0.1), rates, decays), accelerated)


def test_ours_take_the_multipliers_themselves():
    optimizer = layerwise(SGD(0.1, 0.9, weight_decay=1e-3), RATES, DECAYS)
    assert type(optimizer) is SGD and optimizer.rate_multipliers == RATES


def test_multipliers_that_are_not_given_stay_as_they_are():
    own = {"bias": 0.0}
    for optimizer in (keras_dawn.SGD(0.1, decay_multipliers=own), keras.optimizers.AdamW(0.1)):
        made = layerwise(optimizer, {"kernel": 0.5})
        again = layerwise(made, decays=own)
        assert again.rate_multipliers == {"kernel": 0.5} and again.decay_multipliers == own
    assert layerwise(keras_dawn.SGD(0.1, decay_multipliers=own), {"a": 1}).decay_multipliers == own


def test_what_takes_no_steps_is_refused():
    built = keras.optimizers.Adam()
    built.build([keras.Variable([1.0])])
    for optimizer, words in (
        (keras.optimizers.Ftrl(), "one of Adadelta"),
        (built, "has been built"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "got LossScaleOptimizer"),
    ):
        with pytest.raises(ValueError, match=words):
            layerwise(optimizer, {"a": 1.0})
    with pytest.raises(ValueError, match="not a regular expression"):
        layerwise(keras.optimizers.Adam(), {"(": 1.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "2", None])
@pytest.mark.parametrize("what", ["rate", "decay"])
def test_multipliers_that_are_no_numbers_from_0_up_are_refused(what, value):
    words = rf"`{what}_multipliers\['kernel'\]` must be a finite number from 0 up, got {value!r}"
    for optimizer in (keras.optimizers.Adam(), keras_dawn.SGD(0.1)):
        with pytest.raises(ValueError, match=words):
            layerwise(optimizer, **{f"{what}s": {"kernel": value}})
