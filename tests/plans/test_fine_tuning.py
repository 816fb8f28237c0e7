import keras_dawn
from keras_dawn import LayerGroups, OneCycle, ResumeTraining, fine_tune
from keras_dawn.foundation import hyperparameters
from keras_dawn.optimizers import layerwise

import keras
import numpy as np
import pytest

from tests.resume.this_process import ThisProcess

GROUPS = LayerGroups(["^a", "^b", "^head"], spread=100)


def model(optimizer=None, policy=None):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = x = keras.Input((6,))
    for name in "ab":
        x = layers.Dense(5, use_bias=False, name=f"{name}_dense", dtype=policy)(x)
        x = layers.BatchNormalization(name=f"{name}_bn", dtype=policy)(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    made = keras.Model(inputs, layers.Dense(3, name="head", dtype=policy)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(optimizer or keras.optimizers.AdamW(1e-2), loss, metrics=["accuracy"])
    return made


def arrays():
    random = np.random.default_rng(0)
    return random.normal(size=(48, 6)).astype("float32"), random.integers(0, 3, 48)


class Watch(keras.callbacks.Callback):
    """What is trained in each epoch, at which rates, and the weights after it."""

    def __init__(self):
        super().__init__()
        self.trained, self.weights, self.rates, self.peaks = [], [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.trained.append({v.path for v in self.model.trainable_variables})
        optimizer = hyperparameters.unwrap(self.model.optimizer)
        self.rates.append({v.path: optimizer.rate_of(v) for v in self.model.trainable_variables})
        self.peaks.append(0.0)

    def on_train_batch_end(self, batch, logs=None):
        rate = hyperparameters.read(self.model.optimizer, "learning_rate")
        self.peaks[-1] = max(self.peaks[-1], rate)

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append({v.path: v.numpy() for v in self.model.variables})


def tuned(accelerated=True, **settings):
    made, watch, (x, y) = model(), Watch(), arrays()
    if accelerated:
        keras_dawn.accelerate(made)
    start = {v.path: v.numpy() for v in made.variables}
    history = fine_tune(
        made, x, y=y, batch_size=8, verbose=0,
        **{"epochs": 2, "groups": GROUPS, "callbacks": [watch], **settings},
    )  # fmt: skip
    return made, watch, history, start


@pytest.mark.parametrize("accelerated", [False, True])
def test_it_is_the_recipe_written_by_hand(accelerated):
    found, _, history, _ = tuned(accelerated, head_epochs=1)
    x, y = arrays()
    expected = model()
    for layer in expected.layers:
        layer.trainable = layer.name.endswith("bn") or layer.name == "head"
    rates = {"^a_": 0.01, "^b_": 0.1}
    expected.optimizer = layerwise(keras.optimizers.AdamW(1e-2), rates)
    settings = {"batch_size": 8, "verbose": 0}
    first = expected.fit(
        x, y, callbacks=[OneCycle(1e-2, pct_start=0.99, epochs=range(1))], **settings
    )
    for layer in expected.layers:
        layer.trainable = True
    expected.optimizer = layerwise(keras.optimizers.AdamW(1e-2), rates)
    rest = expected.fit(
        x, y, initial_epoch=1, epochs=3,
        callbacks=[OneCycle(5e-3, pct_start=0.3, epochs=range(1, 3))], **settings,
    )  # fmt: skip
    for one, other in zip(found.variables, expected.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-5, err_msg=one.path)
    losses = first.history["loss"] + rest.history["loss"]
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-3)
    assert history.epoch == [0, 1, 2]


def test_the_head_alone_is_trained_first_then_all_at_rates_of_their_own():
    made, watch, _, start = tuned()
    body = {"a_dense/kernel", "b_dense/kernel"}
    assert not body & watch.trained[0] and body < watch.trained[1]
    assert {"head/kernel", "a_bn/gamma"} < watch.trained[0]
    for path in body:
        assert np.array_equal(watch.weights[0][path], start[path])
        assert not np.array_equal(watch.weights[2][path], start[path])
    rates = watch.rates[1]
    kernels = [rates[f"{layer}/kernel"] for layer in ("a_dense", "b_dense", "head")]
    assert kernels == pytest.approx([0.01, 0.1, 1.0])
    assert max(watch.peaks[:1]) == pytest.approx(1e-2, rel=0.1)
    assert max(watch.peaks[1:]) == pytest.approx(5e-3, rel=0.1)
    assert len(made.trainable_variables) == 8


def test_groups_can_be_unfrozen_one_after_the_other():
    _, watch, history, _ = tuned(unfreeze="gradually")
    kernels = [{p for p in trained if p.endswith("kernel")} for trained in watch.trained]
    assert [len(k) for k in kernels] == [1, 2, 3, 3] and "b_dense/kernel" in kernels[1]
    assert len(history.history["loss"]) == 4


@pytest.mark.parametrize("accelerated", [False, True])
def test_batch_normalisation_can_be_kept(accelerated):
    _, watch, _, start = tuned(accelerated, groups=LayerGroups(GROUPS.patterns, batch_norm="keep"))
    for path in start:
        if "_bn/" in path:
            assert np.array_equal(watch.weights[-1][path], start[path]), path
    _, watch, _, start = tuned(accelerated)
    assert not np.array_equal(watch.weights[0]["a_bn/moving_mean"], start["a_bn/moving_mean"])


def test_what_the_user_has_frozen_stays_frozen():
    made, (x, y) = model(), arrays()
    made.get_layer("a_dense").trainable = False
    before = made.get_layer("a_dense").get_weights()
    fine_tune(made, x, y=y, epochs=1, groups=GROUPS, verbose=0)
    assert not made.get_layer("a_dense").trainable and made.get_layer("b_dense").trainable
    for one, other in zip(before, made.get_layer("a_dense").get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "optimizer", [keras_dawn.SGD(0.1), keras.optimizers.SGD(0.1, 0.9), keras.optimizers.Lion(1e-3)]
)
def test_any_optimizer_will_do_and_half_precision_too(optimizer):
    made, (x, y) = model(optimizer, "mixed_float16"), arrays()
    if not hasattr(made.optimizer, "inner_optimizer"):
        made.optimizer = keras.optimizers.LossScaleOptimizer(made.optimizer)
    history = fine_tune(keras_dawn.accelerate(made), x, y=y, epochs=2, verbose=0)
    assert hasattr(made.optimizer, "inner_optimizer")
    assert np.isfinite(history.history["loss"]).all()


class Killed(ThisProcess):
    """Ends the process, as it were, after so many steps, or between the first part and the next."""

    def __init__(self, at):
        super().__init__()
        self.at, self.steps = at, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at:
            raise EOFError

    def set_params(self, params):
        super().set_params(params)
        if self.at == "part" and self.steps:
            raise EOFError


@pytest.mark.parametrize(
    "kills, accelerated",
    [([3], True), (["part"], True), ([8], True), ([4, 9, 2], True), ([17], True), ([6, 7], False)],
)
def test_a_killed_one_goes_on_with_the_bits_of_an_unbroken_one(kills, accelerated, tmp_path):
    settings = {"head_epochs": 1, "epochs": 2, "groups": LayerGroups(GROUPS.patterns, spread=10)}
    expected, _, whole, _ = tuned(accelerated, **settings)
    x, y = arrays()
    for kill in [*kills, None, None]:  # once more when it is complete
        made, steps = model(), Killed(kill)
        made = keras_dawn.accelerate(made) if accelerated else made
        callbacks = [ResumeTraining(tmp_path, every_steps=2), steps]
        try:
            history = fine_tune(
                made, x, y=y, batch_size=8, verbose=0, callbacks=callbacks, **settings
            )
        except EOFError:
            assert kill is not None
    assert steps.steps == 0 and history.epoch == [0, 1, 2]
    assert history.history["loss"] == whole.history["loss"]
    for one, other in zip(made.variables, expected.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()), one.path
    assert len(made.trainable_variables) == 8


def test_without_patterns_the_head_is_the_last_layer_and_the_rest_is_halved():
    names = [[layer.name for layer in group] for group in LayerGroups().of(model())]
    assert names == [["a_dense", "a_bn"], ["b_dense", "b_bn"], ["head"]]
    inner = keras.Sequential([keras.Input((6,)), model(), keras.layers.Dense(2, name="new")])
    names = [[layer.name for layer in group] for group in LayerGroups().of(inner)]
    assert names == [["a_dense", "a_bn"], ["b_dense", "b_bn", "head"], ["new"]]


def test_weights_of_one_name_in_two_groups_are_refused():
    def part():  # such as two networks that were loaded from files of one make
        inputs = keras.Input((6,))
        return keras.Model(inputs, keras.layers.Dense(6, name="same")(inputs))

    made = keras.Sequential([keras.Input((6,)), part(), part(), keras.layers.Dense(3)])
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = arrays()
    with pytest.raises(ValueError, match="Two groups have a weight called 'same/kernel'"):
        fine_tune(made, x, y=y, epochs=1, head_epochs=0, verbose=0)


def test_bad_settings_say_what_is_expected():
    x, y = arrays()
    for settings, words in (
        ({"epochs": 0}, "from 1 up"),
        ({"unfreeze": "slowly"}, "all, gradually"),
        ({"max_lr": slice(1e-5, 1e-3)}, "spread"),
        ({"groups": ["^a", "^head"]}, "must be LayerGroups"),
        ({"groups": LayerGroups(["^a", "^head"])}, "'b_dense' .* no group"),
        ({"groups": LayerGroups(["^a", "^c", ""])}, r"'\^c' matches no layer"),
    ):
        with pytest.raises(ValueError, match=words):
            fine_tune(model(), x, y=y, **{"epochs": 1, **settings})
    with pytest.raises(ValueError, match="train, keep"):
        LayerGroups(batch_norm="none")
    with pytest.raises(ValueError, match="1 or more"):
        LayerGroups(spread=0.5)
    with pytest.raises(ValueError, match="no regular expression"):
        LayerGroups(["^a(", "^head"])
    with pytest.raises(ValueError, match="rate_multipliers"):
        fine_tune(model(keras_dawn.SGD(0.1, rate_multipliers={"a": 0.1})), x, y=y, epochs=1)
    bare = model()
    with pytest.raises(ValueError, match="Compile"):
        fine_tune(keras.Model(bare.inputs, bare.outputs), x, y=y, epochs=1)
