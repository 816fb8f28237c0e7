import keras_dawn
from keras_dawn import data, find_learning_rate
from keras_dawn.schedules import Sweep, try_values

import keras
import numpy as np
import pytest

from tests.on_device import torch


def build(optimizer=None, policy="float32"):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras_dawn.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return model


def images(**arguments):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (48, 8, 8, 3), dtype=np.uint8)
    return data.DeviceImages(
        pixels, random.integers(0, 3, 48), 8, sampler=data.Shuffled(), **arguments
    )


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [v.value.detach().clone() for v in variables], model.optimizer.get_config()


@pytest.mark.parametrize("accelerated", [True, False])
def test_the_losses_are_those_of_each_batch(accelerated):
    weight, x = np.array([[0.5]], "float32"), np.arange(1, 13, dtype="float32")[:, None] / 10
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.compile(keras_dawn.SGD(0.1, momentum=0.0), "mse")
    model.set_weights([weight])
    if accelerated:
        keras_dawn.accelerate(model)
    found = try_values(
        Sweep(0.01, 1.0, 7, smoothing=0.0), model, x, 2 * x, batch_size=4, shuffle=False
    )
    w, expected = 0.5, []
    for step, rate in enumerate(0.01 * 100 ** (n / 6) for n in range(7)):
        batch = x[4 * (step % 3) : 4 * (step % 3) + 4, 0]
        expected.append(float(np.mean((w * batch - 2 * batch) ** 2)))
        w -= rate * float(np.mean(2 * (w * batch - 2 * batch) * batch))
    assert found.losses == pytest.approx(expected, rel=1e-4)
    assert found.smoothed == found.losses
    assert model.get_weights()[0] == weight


@pytest.mark.parametrize("accelerated", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_everything_is_bit_for_bit_as_before(accelerated, policy):
    def trained(search):
        optimizer = keras_dawn.SGD(0.05, momentum=0.9)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model = build(optimizer, policy)
        if accelerated:
            keras_dawn.accelerate(model)
        source = images()
        model.fit(source, epochs=1, shuffle=False, verbose=0)
        if search:
            before = state(model)
            curves = [
                find_learning_rate(model, source, end=1.0, steps=15, shuffle=False).losses
                for _ in range(2)
            ]
            after = state(model)
            assert curves[0] == curves[1]
            assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
            assert before[1] == after[1]
            assert source.epoch == 1
        history = model.fit(source, epochs=1, shuffle=False, verbose=0).history
        return state(model)[0], history, torch.rand(3)

    with_search, without = trained(True), trained(False)
    assert all(torch.equal(a, b) for a, b in zip(with_search[0], without[0], strict=True))
    assert with_search[1] == without[1]
    assert torch.equal(with_search[2], without[2])


def test_it_stops_when_the_loss_diverges_or_is_not_finite():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras_dawn.SGD(0.1), "mse")
    found = find_learning_rate(model, x, x[:, :1], start=1e-3, end=1e3, steps=60, batch_size=16)
    assert len(found.losses) < 60 == found.planned and "4 times its lowest" in found.stopped
    sweep = Sweep(1e-3, 1e6, 60, stop_factor=None)
    found = try_values(sweep, model, x, x[:, :1], batch_size=16)
    assert "the loss is" in found.stopped and not np.isfinite(found.losses[-1])
    assert all(np.isfinite(w).all() for w in model.get_weights())
    found = find_learning_rate(model, x, x[:, :1], start=1e-6, end=1e-5, steps=20, batch_size=16)
    assert len(found.losses) == 20 and found.stopped == "the end of the range"
    history = model.fit(x, x[:, :1], verbose=0)
    find_learning_rate(model, x, x[:, :1], steps=2)
    assert model.history is history
    model.compile("sgd", lambda y, p: keras.losses.mean_squared_error(y, p) - 10)
    found = find_learning_rate(model, x, x[:, :1], start=1e-6, end=1e-5, steps=20, batch_size=16)
    assert max(found.losses) < 0 and found.stopped == "the end of the range"


@pytest.mark.parametrize("parameter, start, end", [("momentum", 0.5, 0.95),
                                                   ("weight_decay", 0.0, 0.01)])  # fmt: skip
def test_other_hyper_parameters_are_swept(parameter, start, end):
    model = keras_dawn.accelerate(build())
    seen = []
    write = keras_dawn.foundation.hyperparameters.write

    def noted(optimizer, name, value):
        seen.append((name, value))
        write(optimizer, name, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_dawn.schedules.finder.hyperparameters.write", noted)
        sweep = Sweep(start, end, 8, parameter=parameter, spacing="linear")
        found = try_values(sweep, model, images(), shuffle=False)
    assert [value for _, value in seen] == pytest.approx(np.linspace(start, end, 8).tolist())
    assert found.parameter == parameter and len(found.losses) == 8
    assert model.optimizer.momentum == pytest.approx(0.9) and model.optimizer.weight_decay == 0.0


def test_a_sample_is_validated_after_every_step():
    x, y = next(iter(images()))
    model = keras_dawn.accelerate(build())
    plain = find_learning_rate(model, images(), end=0.5, steps=8, shuffle=False)
    found = find_learning_rate(
        model, images(), end=0.5, steps=8, shuffle=False, validation_data=(x, y)
    )
    assert found.losses == plain.losses
    assert len(found.validation_losses) == 8
    assert len(set(found.validation_losses)) == 8


def test_the_datas_own_random_numbers_are_put_back():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(48, 8, 8, 3)).astype("float32"), random.integers(0, 3, 48)
    rows = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    generator = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(rows, 8, shuffle=True, generator=generator)
    model = build()
    find_learning_rate(model, loader, steps=2, shuffle=False)  # Keras looks at a batch only once
    before = generator.get_state()
    curves = [
        find_learning_rate(model, loader, end=1.0, steps=15, shuffle=False).losses for _ in range(2)
    ]
    assert curves[0] == curves[1]
    assert torch.equal(generator.get_state(), before)


def test_it_is_refused_within_a_fit_and_for_a_schedule_object():
    class Within(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            find_learning_rate(self.model, images(), shuffle=False)

    model = keras_dawn.accelerate(build())
    with pytest.raises(ValueError, match="one is under way. Call it before that `fit`"):
        model.fit(images(), shuffle=False, verbose=0, callbacks=[Within()])
    plan = keras_dawn.TrainingPlan([keras_dawn.Phase(1, 8, 8, 0.1)])
    with pytest.raises(ValueError, match="one is under way"):
        keras_dawn.fit_plan(model, plan, lambda phase: images(), callbacks=[Within()], verbose=0)
    falling = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = keras_dawn.accelerate(build(keras.optimizers.SGD(falling, momentum=0.9)))
    with pytest.raises(ValueError, match="is a schedule object, .* Compile with a float"):
        find_learning_rate(model, images(), shuffle=False)


def test_its_valley_goes_into_one_cycle():
    model = keras_dawn.accelerate(build())
    found = find_learning_rate(model, images(), end=1.0, steps=40, shuffle=False)
    cycle = keras_dawn.OneCycle(max_lr=found.valley)
    history = model.fit(images(), epochs=2, shuffle=False, verbose=0, callbacks=[cycle]).history
    steps = len(images())
    assert max(cycle.values(2, steps)["learning_rate"]) == pytest.approx(found.valley, rel=0.02)
    assert history["learning_rate"][-1] < found.valley / 100


def test_bad_arguments_are_refused_before_training(dense_model, points):
    model = dense_model("sgd")
    before = model.get_weights()
    with pytest.raises(ValueError, match="start < end"):
        find_learning_rate(model, *points, start=2.0, end=1.0)
    with pytest.raises(ValueError, match="no hyper-parameter"):
        try_values(Sweep(parameter="speed"), model, *points)
    with pytest.raises(ValueError, match="compiled"):
        find_learning_rate(keras.Sequential([keras.layers.Dense(1)]), *points)
    for a, b in zip(before, model.get_weights(), strict=True):
        assert (a == b).all()


def test_a_memory_of_losses_is_put_back():
    memory = data.LossMemory(20)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    hard = data.Hardest(memory, fraction=1.0)
    images = data.DeviceImages(pixels, np.arange(20) % 2, 5, sampler=hard)
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[memory])
    model.fit(images, epochs=2, verbose=0, shuffle=False)
    before, begun = memory.losses.clone(), memory.when_begun(5).clone()
    keras_dawn.find_learning_rate(model, images, steps=8, end=1.0, shuffle=False)
    assert torch.equal(memory.losses, before) and not torch.isinf(before).any()
    assert torch.equal(memory.when_begun(5), begun)


COUNTING = [
    {"gradient_accumulation_steps": 3},
    {"use_ema": True, "ema_overwrite_frequency": 3},
]


@pytest.mark.parametrize("settings", COUNTING, ids=["accumulation", "averages"])
@pytest.mark.parametrize("accelerated", [False, True])
def test_steps_that_an_optimizer_counts_are_put_back(settings, accelerated):
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")

    def trained(tested):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.SGD(0.01, **settings), "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        model.fit(x[:32], 2 * x[:32, :3], 8, shuffle=False, verbose=0)
        if tested:  # in an uneven number of steps
            find_learning_rate(model, x, 2 * x[:, :3], steps=20, batch_size=8)
        model.fit(x, 2 * x[:, :3], 8, shuffle=False, verbose=0)
        return model.get_weights()

    for ours, plain in zip(trained(True), trained(False), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_fit_after_it_draws_what_a_first_fit_draws(accelerated):
    """A first `fit` builds the model on a batch without numbers, and a dropout draws there too."""
    x = np.random.default_rng(0).random((16, 4)).astype("float32")

    def losses(tested):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        for _ in range(tested):
            find_learning_rate(model, x, x[:, :1], steps=5)
        return model.fit(x, x[:, :1], 8, epochs=2, verbose=0).history["loss"]

    assert losses(0) == losses(1) == losses(2)


class OwnStep(keras.Model):
    """Its own loss, in its own running mean, as in many examples of keras.io."""

    names = ("loss",)  # of its logs

    def __init__(self):
        super().__init__()
        self.dense, self.mean = keras.layers.Dense(1), keras.metrics.Mean(name="loss")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = ((self(x, training=True) - y) ** 2).mean()
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        self.mean.update_state(loss)
        return {name: self.mean.result() for name in self.names}


@pytest.mark.parametrize("accelerated", [True, False])
def test_a_model_that_keeps_its_own_loss_is_swept(accelerated):
    x, y = torch.randn(64, 3), torch.randn(64, 1)

    def compiled(model):
        keras.utils.set_random_seed(0)
        model(x[:1])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return keras_dawn.accelerate(model) if accelerated else model

    inputs = keras.Input((3,))
    keras.utils.set_random_seed(0)
    usual = compiled(keras.Model(inputs, keras.layers.Dense(1)(inputs)))
    own = compiled(OwnStep())
    own.set_weights(usual.get_weights())
    sweep = {"start": 1e-3, "end": 0.1, "steps": 6, "batch_size": 16, "shuffle": False}
    expected = keras_dawn.find_learning_rate(usual, x, y, **sweep).losses
    assert keras_dawn.find_learning_rate(own, x, y, **sweep).losses == pytest.approx(expected)
    own.names = ("cost",)
    with pytest.raises(ValueError, match="return it as .loss., and returned .'cost'"):
        keras_dawn.find_learning_rate(own, x, y, **sweep)
