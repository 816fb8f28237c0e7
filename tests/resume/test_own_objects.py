"""What callbacks, schedules and losses of the user's hold goes on, whatever holds it."""

import collections
import dataclasses
import enum
import functools
import pathlib
import types

from keras_dawn import ResumeTraining

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.resume.lives import X
from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process

TARGETS = X.sum(1, keepdims=True)
K = keras.callbacks


class Part(enum.Enum):
    WARM, HOT = 1, 2


@dataclasses.dataclass
class Tracker:
    """Moves a kernel by what it has counted so far."""

    inner: object = None
    count: int = 0
    seen: list = dataclasses.field(default_factory=list)

    def __call__(self, model):
        self.count += 1
        self.seen.append(self.count % 3)
        model.layers[1].kernel.assign(model.layers[1].kernel * (1 - 0.01 * sum(self.seen[-4:])))
        if self.inner is not None:
            self.inner(model)


class Slotted:
    __slots__ = ("count",)

    def __init__(self):
        self.count = 0

    def __call__(self, model):
        self.count += 1
        model.layers[1].kernel.assign(model.layers[1].kernel * (1 - 0.01 * (self.count % 5)))


class Calls(K.Callback):
    """Calls what it holds after every step, in attributes, lists and dicts."""

    def __init__(self, *held, **named):
        super().__init__()
        self.named, self.deep = named, {"all": [({"each": [*held]},)]}

    def on_train_batch_end(self, batch, logs=None):
        for each in [*self.deep["all"][0][0]["each"], *self.named.values()]:
            each(self.model)


class Wraps(K.Callback):
    """Passes on to another callback what Keras tells it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def set_model(self, model):
        super().set_model(model)
        self.inner.set_model(model)

    def on_train_begin(self, logs=None):
        self.inner.on_train_begin(logs)

    def on_train_batch_end(self, batch, logs=None):
        self.inner.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.inner.on_epoch_end(epoch, logs)


class Teacher(K.Callback):
    """Draws the weights to their mean, which another model holds."""

    def on_train_begin(self, logs=None):
        layers = keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)
        self.teacher = keras.Sequential([keras.Input((6,)), *layers])
        self.teacher.set_weights(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        pairs = zip(self.teacher.variables, self.model.variables, strict=True)
        for mean, variable in pairs:
            mean.assign(0.8 * mean + 0.2 * variable)
            variable.assign(0.9 * variable + 0.1 * mean)


class Measures(K.Callback):
    """Sets the rate by a metric, a variable and random numbers of Keras's."""

    def __init__(self):
        super().__init__()
        self.mean, self.most = keras.metrics.Mean(), keras.Variable(0.0)
        self.random = keras.random.SeedGenerator(3)

    def on_train_batch_end(self, batch, logs=None):
        self.mean.update_state(logs["loss"] * keras.random.uniform((), seed=self.random))
        self.most.assign(keras.ops.maximum(self.most, self.mean.result()))
        self.model.optimizer.learning_rate = 0.02 + 0.01 * float(self.most.value.detach())


class ByTorch(K.Callback):
    """A network of torch's with an optimizer and a schedule, and a loader with a generator."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.BatchNorm1d(1))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.5)
        generator = torch.Generator().manual_seed(2)
        data = TensorDataset(torch.from_numpy(X))
        self.loader = DataLoader(data, 4, shuffle=True, generator=generator)

    def on_train_batch_end(self, batch, logs=None):
        loss = self.net(next(iter(self.loader))[0]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        kernel = self.model.layers[1].kernel
        kernel.assign(kernel * (1 - 0.01 * float(loss.detach())))


class Fits(K.Callback):
    """Fits and evaluates another model, which draws from the random numbers of all."""

    def __init__(self):
        super().__init__()
        self.other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        self.other.compile(keras.optimizers.Adam(0.1), "mse")

    def on_epoch_end(self, epoch, logs=None):
        self.other.fit(X, TARGETS, batch_size=20, verbose=0)
        moved = self.other.evaluate(X, TARGETS, verbose=0)
        self.model.layers[1].kernel.assign(self.model.layers[1].kernel * (1 - 0.01 * moved))


class Odd(K.Callback):
    """Attributes of rarer kinds, each of which counts."""

    def __init__(self):
        super().__init__()
        self.part, self.best, self.sums = Part.WARM, pathlib.Path("0"), collections.Counter()
        self.lists, self.space = collections.defaultdict(list), types.SimpleNamespace(n=0)

    def on_train_batch_end(self, batch, logs=None):
        self.space.n += 1
        self.part = Part.HOT if self.space.n % 4 == 3 else Part.WARM
        self.best = pathlib.Path(str(int(self.best.name) + 1))
        self.sums[(batch, np.int64(1))] += 1
        self.lists[batch % 2].append(1)
        moved = self.part.value + int(self.best.name) % 3 + len(self.lists[0])
        moved += self.sums[(0, 1)]
        self.model.layers[1].kernel.assign(self.model.layers[1].kernel * (1 - 0.002 * moved))


COUNTED = {}


class Settings:
    """A class that nothing is made of: a place for names."""

    steps = 0


class OfClass(K.Callback):
    """Counts in its class, in another, and under a name of its module."""

    count = 0

    def on_train_begin(self, logs=None):
        OfClass.count = Settings.steps = COUNTED["steps"] = 0

    def on_train_batch_end(self, batch, logs=None):
        OfClass.count += 1
        Settings.steps += 1
        count()
        moved = OfClass.count % 3 + COUNTED["steps"] % 4 + Settings.steps % 5
        self.model.layers[1].kernel.assign(self.model.layers[1].kernel * (1 - 0.01 * moved))


def count():
    COUNTED["steps"] += 1


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls with every call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return 0.05 / (1 + 0.1 * self.calls)


class Slow(keras.optimizers.Optimizer):
    """Lookahead's slow weights around another optimizer, which is built with it."""

    def __init__(self, inner):
        super().__init__(learning_rate=0.1, name="slow")
        self.fast = inner

    def build(self, variables):
        super().build(variables)
        self.fast.build(variables)
        self.slow = self.add_optimizer_variables(variables, "slow")

    def _backend_update_step(self, gradients, variables, rate):
        self.fast._backend_update_step(gradients, variables, self.fast.learning_rate)
        self.fast.iterations.assign_add(1)
        for slow, variable in zip(self.slow, variables, strict=True):
            slow.assign(0.5 * slow + 0.5 * variable)
            variable.assign(0.7 * variable + 0.3 * slow)


def by_epoch():
    state = {"calls": 0}

    def schedule(epoch, rate):
        state["calls"] += 1
        return 0.05 / state["calls"]

    return K.LearningRateScheduler(schedule)


def by_lambda():
    done = 0

    def after(epoch, logs):
        nonlocal done
        done += 1
        look.model.optimizer.learning_rate = 0.05 / (1 + done % 3)

    look = K.LambdaCallback(on_epoch_end=after)
    return look


def growing(targets, outputs, state):
    if not outputs.is_meta:
        state["calls"] += 1
    return (1 + state["calls"] % 3) * keras.ops.mean(keras.ops.square(targets - outputs), -1)


def growing_loss():
    state = {"calls": 0}
    return lambda targets, outputs: growing(targets, outputs, state)


def of_callbacks(make):
    return lambda: (make(), keras.optimizers.SGD(0.05, momentum=0.9), "mse")


KINDS = {
    "objects in each other": of_callbacks(lambda: [Calls(Tracker(Tracker()), of=Tracker())]),
    "an object with slots": of_callbacks(lambda: [Calls(Slotted())]),
    "a bound method": of_callbacks(lambda: [Calls(Tracker().__call__)]),
    "a partial": of_callbacks(lambda: [Calls(functools.partial(Tracker()))]),
    "another callback": of_callbacks(
        lambda: [Wraps(K.ReduceLROnPlateau("loss", 0.5, 1, min_delta=1e9)), Wraps(Calls(Slotted()))]
    ),
    "another model": of_callbacks(lambda: [Teacher()]),
    "a model that is fitted": of_callbacks(lambda: [Fits()]),
    "metrics and variables": of_callbacks(lambda: [Measures()]),
    "torch's": of_callbacks(lambda: [ByTorch()]),
    "odd attributes": of_callbacks(lambda: [Odd()]),
    "a class and a module": of_callbacks(lambda: [OfClass()]),
    "a schedule's closure": of_callbacks(lambda: [by_epoch()]),
    "a function's own number": of_callbacks(lambda: [by_lambda()]),
    "a schedule that counts": lambda: ([], keras.optimizers.SGD(Rates()), "mse"),
    "an optimizer in another": lambda: (
        [], Slow(keras.optimizers.Adam(0.03, amsgrad=True)), "mse"
    ),
    "a loss's closure": lambda: ([], keras.optimizers.SGD(0.02), growing_loss()),
}  # fmt: skip


def life(make, folder, cut=None, seed=1):
    as_another_process(seed)
    callbacks, optimizer, loss = make()
    inputs = keras.Input((6,))
    x = keras.layers.Dense(1)(keras.layers.Dense(4, "tanh")(inputs))
    model = keras.Model(inputs, x)
    model.compile(optimizer, loss)
    callbacks += [Cut(cut)] + ([] if folder is None else [ResumeTraining(folder, every_steps=1)])
    try:
        model.fit(X, TARGETS, batch_size=8, epochs=4, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        assert cut is not None and "cut off" in str(error)
    return model


def all_at_once():
    callbacks = [callback for make in KINDS.values() for callback in make()[0]]
    return callbacks, Slow(keras.optimizers.Adam(Rates(), amsgrad=True)), growing_loss()


ALONE = [pytest.param(make, id=kind, marks=pytest.mark.slow) for kind, make in KINDS.items()]


@pytest.mark.parametrize("make", [all_at_once, *ALONE])
def test_what_is_held_goes_on(make, tmp_path):
    whole = life(make, None)
    for cut in (8, 4, None):
        ours = life(make, tmp_path, cut)
    assert ours.history.history == whole.history.history
    for a, b in zip(ours.variables, whole.variables, strict=True):
        assert torch.equal(a.value, b.value)


def test_an_object_that_is_replaced_by_another_begins_anew_and_it_is_said(tmp_path, capsys):
    class Replaces(Calls):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.named["of"] = Tracker()

    for cut in (8, None):
        callback = Replaces(of=Tracker())
        life(lambda callback=callback: ([callback], "sgd", "mse"), tmp_path, cut)
    said = capsys.readouterr().err
    assert callback.named["of"].count == 20 - 8
    for name in ("Replaces", "Replaces.named-1"):
        assert f"attributes of {name} would begin anew" in said
        assert f"attributes of {name} begin anew" in said
