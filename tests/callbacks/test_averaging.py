import copy

import keras_dawn
from keras_dawn import ResumeTraining, data
from keras_dawn.callbacks import (
    ExponentialMovingAverage,
    Lookahead,
    Snapshots,
    StochasticWeightAveraging,
)
from keras_dawn.evaluation.batch_statistics import estimate_statistics
from keras_dawn.schedules import linear

import keras
import numpy as np
import pytest
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from tests.on_device import torch


class Weights(keras.callbacks.Callback):
    """Every step's weights, seen before another callback changes them."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], []

    def now(self):
        return [v.value.detach().clone() for v in floats(self.model)]

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.now())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.now())


class Holder(torch.nn.Module):
    """Weights for torch's own averages to look at."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.ParameterList([w.clone() for w in weights])

    def set(self, weights):
        for parameter, weight in zip(self.weights, weights, strict=True):
            parameter.data.copy_(weight)


def floats(model):
    return [v for v in model.variables if v.value.is_floating_point()]


def build(accelerated, dropout=0.0):
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Dropout(dropout)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return keras_dawn.accelerate(model) if accelerated else model


def images(count=40, seed=0):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return data.DeviceImages(pixels, random.integers(0, 3, count), 8, sampler=data.Shuffled())


def fit(model, callbacks, epochs=3, **arguments):
    return model.fit(
        images(), epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **arguments
    )


def equal(found, expected, tolerance=1e-6):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("accelerated, every", [(False, 1), (True, 1), (True, 2), (True, 3)])
def test_the_moving_average_is_torchs(accelerated, every):
    model, seen = build(accelerated), Weights()
    averaged = AveragedModel(Holder(seen_of(model)), multi_avg_fn=get_ema_multi_avg_fn(0.8))
    fit(model, [seen, ExponentialMovingAverage(0.8, every=every)])
    for epoch in range(3):  # of five steps each
        for weights in seen.steps[5 * epoch : 5 * epoch + 5][every - 1 :: every]:
            averaged.update_parameters(Holder(weights))
    equal(seen_of(model), list(averaged.module.weights))
    assert not torch.allclose(seen.steps[-1][0], seen_of(model)[0])


def seen_of(model):
    return [v.value.detach().clone() for v in floats(model)]


def test_validation_sees_the_average_and_training_goes_on_without_it():
    keras.utils.set_random_seed(1)
    plain, plain_weights = build(True), Weights()
    fit(plain, [plain_weights])
    keras.utils.set_random_seed(1)
    model, seen, average = build(True), Weights(), ExponentialMovingAverage(0.9, every=2)
    history = fit(model, [seen, average], validation_data=images(16, 1)).history
    equal(seen.steps[-1], plain_weights.steps[-1], 0)
    assert average.updates == 6
    result = model.evaluate(images(16, 1), verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(result["loss"], abs=1e-6)


@pytest.mark.parametrize("validate", [False, True])
def test_validation_sees_the_average_only_where_it_is_to(validate):
    model, average = build(True), ExponentialMovingAverage(0.9, validate=validate)
    average.goes_on = True  # the model keeps the weights that train
    losses = fit(model, [average], epochs=1, validation_data=images(16, 1)).history["val_loss"]
    training = model.evaluate(images(16, 1), verbose=0)[0]
    with average.in_place():
        averaged = model.evaluate(images(16, 1), verbose=0)[0]
    assert training != pytest.approx(averaged, abs=1e-4)
    assert losses == pytest.approx([averaged if validate else training], abs=1e-6)


def test_stochastic_weight_averaging_waits_where_the_training_goes_on():
    model, seen = build(True), Weights()
    averaging = StochasticWeightAveraging(images(), start=0.0)
    averaging.goes_on = True
    fit(model, [seen, averaging], epochs=2)
    equal(seen_of(model), seen.epochs[-1], 0)


def test_the_average_can_be_had_before_the_end():
    model, average = build(True), ExponentialMovingAverage(0.9)
    average.goes_on = True
    with pytest.raises(ValueError, match="no weights yet"), average.in_place():
        pass
    seen = Weights()
    fit(model, [seen, average])
    equal(seen_of(model), seen.steps[-1], 0)
    with average.in_place() as standing_in:
        assert not torch.allclose(seen_of(standing_in)[0], seen.steps[-1][0])
    equal(seen_of(model), seen.steps[-1], 0)


@pytest.mark.parametrize(
    "accelerated, start, every, taken",
    [(False, 0.5, 2, [3, 5]), (True, 0.5, 1, [3, 4, 5]), (True, 0.75, 1, [4, 5]),
     (True, 0.0, 1, [0, 1, 2, 3, 4, 5])],
)  # fmt: skip
def test_stochastic_weight_averaging_is_the_mean_of_the_last_epochs(
    accelerated, start, every, taken
):
    model, seen = build(accelerated), Weights()
    averaging = StochasticWeightAveraging(images(), start=start, every=every)
    fit(model, [seen, averaging], epochs=6)
    weights = [seen.epochs[epoch] for epoch in taken]
    expected = [torch.stack(ws).mean(0) for ws in zip(*weights, strict=True)]
    names = [v.path for v in floats(model)]
    for name, ours, theirs in zip(names, seen_of(model), expected, strict=True):
        if "moving" not in name:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert_statistics_are_torchs(model, [batch for batch, _ in images()])


def assert_statistics_are_torchs(model, batches):
    """The moving averages are those that torch measures for the model's filters."""
    conv, norm = model.layers[1], model.layers[2]
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
    theirs.to(batches[0].device)
    theirs[0].weight.data.copy_(conv.kernel.value.permute(3, 2, 0, 1))
    update_bn([batch.permute(0, 3, 1, 2) for batch in batches], theirs)
    count = len(batches[0]) * 4 * 4  # torch corrects the variance for the size of the batch
    torch.testing.assert_close(norm.moving_mean.value.detach(), theirs[1].running_mean)
    torch.testing.assert_close(
        norm.moving_variance.value.detach(), theirs[1].running_var * (count - 1) / count
    )


def test_measured_statistics_are_torchs():
    model = build(False, dropout=0.5)
    batches = [torch.randn(8, 6, 6, 3) for _ in range(4)]
    before, state = seen_of(model), torch.get_rng_state()
    seeds = [v.value.clone() for v in model.variables if not v.value.is_floating_point()]
    estimate_statistics(model, batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert_statistics_are_torchs(model, batches)
    assert model.layers[2].momentum == 0.9
    after = [v.value for v in model.variables if not v.value.is_floating_point()]
    assert all(torch.equal(a, b) for a, b in zip(seeds, after, strict=True))
    names = [v.path for v in floats(model)]
    for name, old, new in zip(names, before, seen_of(model), strict=True):
        assert torch.equal(old, new) == ("moving" not in name), name
    with pytest.raises(ValueError, match="no images"):
        estimate_statistics(model, [])
    measured = seen_of(model)
    with pytest.raises(ValueError):
        estimate_statistics(model, [batches[0], batches[0][..., :2]])
    assert all(torch.equal(a, b) for a, b in zip(measured, seen_of(model), strict=True))


def test_statistics_that_are_not_finite_are_measured_too():
    model = build(False)
    batches = [torch.randn(8, 6, 6, 3) for _ in range(2)]
    model.layers[2].moving_mean.assign(model.layers[2].moving_mean * float("nan"))
    model.layers[2].moving_variance.assign(model.layers[2].moving_variance * float("inf"))
    labels = torch.zeros(16)  # given beside the images, as to `fit`
    estimate_statistics(model, (torch.cat(batches), labels), batch_size=8)
    assert_statistics_are_torchs(model, batches)


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_torchs_modules_are_measured_as_torch_does(frozen):
    modules = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, momentum=0.3), torch.nn.Flatten()]
    layer = keras.layers.TorchModuleWrapper(torch.nn.Sequential(*modules))
    model = keras.Sequential([layer, keras.layers.BatchNormalization()])
    batches = [torch.randn(8, 3, 6, 6) for _ in range(3)]
    model(batches[0], training=True)
    expected = copy.deepcopy(layer.module)
    layer.trainable = not frozen
    if not frozen:
        update_bn(batches, expected)
    estimate_statistics(model, batches)
    assert layer.module[1].momentum == 0.3
    for found, wanted in zip(layer.module.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(found, wanted)
    assert torch.equal(layer.module[0].weight, expected[0].weight)


@pytest.mark.parametrize("alpha", [0.5, linear(0.2, 1.0)])
@pytest.mark.parametrize("accelerated", [False, True])
def test_lookahead_by_hand(accelerated, alpha):
    """The same inner steps, taken one by one and pulled back by hand."""

    class ByHand(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.slow, self.steps = seen_of(self.model), 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps % 4 == 0:
                a = alpha if isinstance(alpha, float) else alpha(self.steps / 15)
                for number, v in enumerate(floats(self.model)):
                    self.slow[number] += a * (v.value.detach() - self.slow[number])
                    v.value.data.copy_(self.slow[number])

    results = []
    for callback in (Lookahead(4, alpha), ByHand()):
        keras.utils.set_random_seed(3)
        model = build(accelerated)
        fit(model, [callback])
        results.append(seen_of(model) if callback.__class__ is Lookahead else callback.slow)
    equal(*results, 1e-5)


@pytest.mark.parametrize("cut", [3, 5, 8, 12])
@pytest.mark.parametrize("kind", ["average", "swa", "lookahead"])
def test_averages_survive_an_interruption(kind, cut, tmp_path):
    class Cut(keras.callbacks.Callback):
        def __init__(self, at):
            super().__init__()
            self.left = at

        def on_train_batch_begin(self, batch, logs=None):
            if self.left == 0:
                raise RuntimeError("cut off")
            self.left -= 1

    def run(folder, at):
        keras.utils.set_random_seed(5)
        model = build(True, dropout=0.2)
        callback = {
            "average": lambda: ExponentialMovingAverage(0.9),
            "swa": lambda: StochasticWeightAveraging(images(), start=0.3),
            "lookahead": lambda: Lookahead(4),
        }[kind]()
        fit(model, [callback, Cut(at), ResumeTraining(folder, every_steps=2)])
        return seen_of(model)

    whole = run(tmp_path / "whole", -1)
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", cut)
    equal(run(tmp_path / "cut", -1), whole, 0)


def test_an_average_that_is_added_to_a_training_begins_where_that_goes_on(tmp_path, capsys):
    fit(build(True), [ResumeTraining(tmp_path)], epochs=1)
    average = ExponentialMovingAverage()
    fit(build(True), [average, ResumeTraining(tmp_path)], epochs=2)
    assert "ExponentialMovingAverage is new: begins now" in capsys.readouterr().err
    assert average.updates == 5


def test_a_second_training_begins_a_new_average_and_initial_epoch_goes_on():
    model, average = build(True), ExponentialMovingAverage(0.9)
    fit(model, [average], epochs=2)
    fit(model, [average], epochs=3, initial_epoch=2)
    assert average.updates == 15
    fit(model, [average], epochs=1)
    assert average.updates == 5


def test_a_plan_takes_the_average_through_its_phases():
    model, average, seen = build(True), ExponentialMovingAverage(0.9), Weights()
    plan = keras_dawn.TrainingPlan(
        [keras_dawn.Phase(1, 6, 8, (0.1, 0.05)), keras_dawn.Phase(1, 6, 8, (0.05, 0.0))]
    )
    keras_dawn.fit_plan(model, plan, lambda phase: images(), callbacks=[seen, average], verbose=0)
    averaged = AveragedModel(Holder(seen.steps[0]), multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for weights in seen.steps:
        averaged.update_parameters(Holder(weights))
    assert average.updates == 10
    equal(seen_of(model), list(averaged.module.weights))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialMovingAverage(1.0), "`decay`"),
        (lambda: ExponentialMovingAverage(0.9, every=0), "`every`"),
        (lambda: StochasticWeightAveraging(None, start=1.0), "`start`"),
        (lambda: StochasticWeightAveraging(None, every=0.5), "`every`"),
        (lambda: Lookahead(alpha=0.0), "`alpha`"),
        (lambda: Lookahead(every=0), "`every`"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_epoch_of_too_few_steps_to_take_in_is_named(points):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    average = ExponentialMovingAverage(0.9, every=6)
    with pytest.warns(UserWarning, match="every 6 steps of an epoch, and this epoch has 5"):
        model.fit(*points, batch_size=8, epochs=2, callbacks=[average], verbose=0)
    assert not average.updates


@pytest.mark.parametrize("validated", [False, True])
def test_after_a_fit_the_copy_is_the_average_that_the_model_has(validated):
    x = np.random.default_rng(0).normal(size=(32, 5)).astype("float32")
    validation = {"validation_data": (x, x[:, :2] ** 2)} if validated else {}
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    average = ExponentialMovingAverage(0.9)
    expected, steps = None, 0

    class ByHand(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            nonlocal expected, steps
            weights = self.model.get_weights()
            pairs = zip(expected or weights, weights, strict=True)
            expected = [0.9 * old + 0.1 * new for old, new in pairs]

    for first in (0, 3):  # it goes on with the average where it was
        model.fit(
            x, x[:, :2] ** 2, 8, epochs=first + 3, initial_epoch=first, shuffle=False, verbose=0,
            callbacks=[ByHand(), average], **validation,
        )  # fmt: skip
        for own, by_hand in zip(model.get_weights(), expected, strict=True):
            np.testing.assert_allclose(own, by_hand, atol=1e-6)
        with average.in_place():
            for own, by_hand in zip(model.get_weights(), expected, strict=True):
                np.testing.assert_allclose(own, by_hand, atol=1e-6)


def test_weights_are_averaged_from_the_epoch_that_the_fraction_means(points):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    averaging = StochasticWeightAveraging(points[0], start=1 - 0.9)
    model.fit(*points, batch_size=64, epochs=10, callbacks=[averaging], verbose=0)
    assert averaging.updates == 9  # though 10 · (1 - 0.9) is 0.9999999999999998


@pytest.mark.parametrize(
    "callback", [ExponentialMovingAverage(), Lookahead(), Snapshots([0.5, 1.0])]
)
def test_a_backup_that_would_lose_the_copy_is_refused(callback, points, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [callback, keras.callbacks.BackupAndRestore(tmp_path)]
    with pytest.raises(ValueError, match="Use keras_dawn's ResumeTraining"):
        model.fit(*points, callbacks=callbacks, verbose=0)
