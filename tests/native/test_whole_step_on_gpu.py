"""The trainings of `test_whole_step.py` on a GPU: replayed and eager ones end alike."""

import functools
import warnings

import keras_dawn
from keras_dawn import OneCycle, ParameterSchedule, callbacks, data, schedules
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.graphed import Case, everything, how, images, network
from tests.native.test_whole_step import OPTIMIZERS, Cosine, Twice, adam, adamw, one_cycle

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


ROUGH = 0.05  # where a sign, a gradient of almost 0 or half precision makes much of a last bit


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


def compared(case, graph="the whole step", tolerance=1e-3):
    """Both trainings end alike, in every weight, state and log.

    As on the emulator, but for kernels that cuBLAS may choose otherwise in a capture: within
    `tolerance` of each tensor's largest number.
    """
    eager, history = case.train(graphs=False)
    graphed, again = case.train(graphs=True)
    assert graph in how(graphed)
    for one, other in zip(everything(eager), everything(graphed), strict=True):
        one, other = (part.astype("float64") for part in (one, other))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(one).max())
    for name, values in history.items():
        np.testing.assert_allclose(values, again[name], rtol=10 * tolerance, atol=0.05)
    return graphed


@pytest.mark.parametrize("name", ["SGD", "SGD, Nesterov", "Muon", "LARS", "Keras SGD", "Adam",
                                  "AdamW", "Lion", "Keras Muon", "Lamb"])  # fmt: skip
def test_optimizers_whose_rate_and_momentum_move(name):
    tolerance = 1e-3 if "SGD" in name or name == "LARS" else ROUGH
    compared(Case(OPTIMIZERS[name], callbacks=one_cycle), tolerance=tolerance)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Muon"])
def test_half_precision(name, policy):
    make = functools.partial(network, policy)
    compared(Case(OPTIMIZERS[name], make, callbacks=one_cycle), tolerance=ROUGH)


def test_dropout_is_drawn_anew_at_each_replay_as_eagerly():
    compared(Case(make=functools.partial(network, dropout=0.5)))


def test_dropout_of_one_replay_differs_from_that_of_the_next():
    inputs = keras.Input((64,))
    model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(inputs)))
    model.compile(keras_dawn.SGD(0.0), "mse")
    keras_dawn.accelerate(model)
    x, y = torch.rand(8, 64, device="cuda"), torch.zeros(8, 1, device="cuda")
    losses = set()
    for _ in range(12):
        model.reset_metrics()
        losses.add(float(model.train_on_batch(x, y)))
    assert how(model) == "the whole step" and len(losses) > 6


def test_sizes_odd_batches_validation_and_averages():
    resize = functools.partial(images, transforms=[data.Resize({0: 12, 2: 16})])
    case = Case(
        make=functools.partial(network, size=None), source=resize, epochs=5,
        callbacks=lambda model: [OneCycle(0.05), callbacks.ExponentialMovingAverage(0.9)],
        validation_data=functools.partial(images, 32),
    )  # fmt: skip
    compared(case)


def test_freezing_gradients_and_numbers_that_callbacks_assign():
    def watching(model):
        def begin(batch, logs):
            model.get_layer("stem").trainable = batch > 3
            model.optimizer.learning_rate = 0.01 * (batch + 1)
            model.optimizer.momentum = 0.5 + 0.01 * batch

        def end(batch, logs):
            assert model.layers[-1].kernel.value.grad is not None

        return [keras.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)]

    compared(Case(callbacks=watching, epochs=3))


def test_adam_s_numbers_and_keras_s_schedules():
    moving = ParameterSchedule(
        {"beta_2": schedules.linear(0.99, 0.999), "weight_decay": schedules.linear(0.1, 0.0)}
    )
    compared(
        Case(functools.partial(adamw, 1e-3), callbacks=lambda model: [moving]), tolerance=ROUGH
    )
    cosine = keras.optimizers.schedules.CosineDecay
    compared(Case(lambda: adam(cosine(0.05, 20))), tolerance=ROUGH)
    averaged = {"use_ema": True, "gradient_accumulation_steps": 2, "global_clipnorm": 1.0}
    compared(Case(functools.partial(adam, 1e-3, **averaged)), tolerance=ROUGH)


def test_what_is_a_graph_in_part_only():
    compared(Case(loss=Twice), "forward and backward pass")
    compared(Case(lambda: adam(Cosine())), "a learning rate that is called", ROUGH)


def test_recurrent_layers():
    def make():
        return keras.Sequential([keras.Input((16, 48)), layers.LSTM(24), layers.Dense(10)])

    x = np.random.default_rng(0).normal(size=(70, 16, 48)).astype("float32")

    class Sequences(Case):
        def train(self, graphs):
            self.fit |= {"y": np.arange(70) % 10, "batch_size": 8}
            return super().train(graphs)

    compared(Sequences(OPTIMIZERS["Adam"], make, lambda: x), tolerance=ROUGH)


def test_a_step_does_not_wait_and_warns_of_nothing():
    model = network("mixed_float16")
    model.compile(keras_dawn.SGD(0.05), Case().loss(), metrics=["accuracy"])
    keras_dawn.accelerate(model, log_every=10**9)
    x, y = torch.rand(8, 16, 16, 3, device="cuda"), torch.arange(8, device="cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        model.fit(Repeated(x, y, 6), shuffle=False, verbose=0)
        step = model.train_function
        torch.cuda.synchronize()
        engine_of(model).steps.exact_logs = False
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(5):
                step([(x, y)])
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_memory_of_graphs_of_several_shapes_is_shared_and_given_back():
    model = keras_dawn.models.WideResNet(16, 4, input_shape=(None, None, 3))
    model.compile(keras_dawn.SGD(0.05), Case().loss())
    keras_dawn.accelerate(model)

    class Looks(keras.callbacks.Callback):
        reserved = 0

        def on_train_batch_end(self, batch, logs=None):
            Looks.reserved = torch.cuda.memory_reserved()

    def trained(*sizes):
        batches = [(torch.rand(64, s, s, 3, device="cuda"), torch.arange(64, device="cuda") % 10)
                   for s in sizes for _ in range(6)]  # fmt: skip
        model.fit(Several(batches), shuffle=False, verbose=0, callbacks=[Looks()])
        assert not engine_of(model).steps.graphs.whole._graphs
        return Looks.reserved

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    alone = trained(48) - before
    given_back = torch.cuda.memory_reserved() - before
    together = trained(48, 40, 32) - before
    assert given_back < alone / 2  # what is left are the optimizer's state and a workspace
    assert together < 1.6 * alone


class Several(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        return self.batches[number]


class Repeated(Several):
    def __init__(self, x, y, count):
        super().__init__([(x, y)] * count)
