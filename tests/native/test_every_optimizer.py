"""Every optimizer, with every setting, against plain Keras's over twenty steps."""

import pathlib

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps import updates

import keras
import numpy as np
import pytest
from keras import constraints, layers, optimizers
from torch.utils._python_dispatch import TorchDispatchMode

from tests.on_device import torch

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 6)), RANDOM.normal(size=(40, 3))
EXPORTED = {
    name
    for name in dir(optimizers)
    if isinstance(getattr(optimizers, name), type) and name != "Optimizer"
} - {"OptimizerMap"}  # what a MultiOptimizer is made of


def network(optimizer, native):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, "tanh", kernel_constraint=constraints.MaxNorm(3.0)),
            layers.Reshape((2, 2, 1)),
            layers.Conv2D(2, 2),
            layers.Flatten(),
            layers.Dense(4, "tanh"),
            layers.Dense(4, "tanh"),
            layers.Dense(3),
        ]
    )
    model.layers[0].kernel.constraint = None
    model.compile(optimizer, "mse")
    return keras_dawn.accelerate(model) if native else model


def fit(model, x=X, y=Y, epochs=2, **arguments):
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, **arguments)


def everything(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def both(make, train=fit, before=None):
    found = []
    for native in (True, False):
        model = network(make(), native)
        if before:
            before(model)
        train(model)
        found.append(everything(model))
    return found


def assert_equal(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def several(**settings):
    by_path = {".*dense.*": optimizers.SGD(0.05, momentum=0.9)}
    return optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizers.Adam(0.01, **settings), by_path)
    )


SIMPLE = {
    "SGD": lambda **k: optimizers.SGD(0.05, momentum=0.9, **k),
    "RMSprop": lambda **k: optimizers.RMSprop(0.01, **k),
    "Adam": lambda **k: optimizers.Adam(0.01, **k),
    "AdamW": lambda **k: optimizers.AdamW(0.01, **k),
    "Adamax": lambda **k: optimizers.Adamax(0.01, **k),
    "Nadam": lambda **k: optimizers.Nadam(0.01, **k),
    "Adagrad": lambda **k: optimizers.Adagrad(0.05, **k),
    "Adadelta": lambda **k: optimizers.Adadelta(0.5, **k),
    "Adafactor": lambda **k: optimizers.Adafactor(0.05, **k),
    "Ftrl": lambda **k: optimizers.Ftrl(0.05, **k),
    "Lion": lambda **k: optimizers.Lion(0.003, **k),
    "Lamb": lambda **k: optimizers.Lamb(0.01, **k),
    "Muon": lambda **k: optimizers.Muon(0.01, **k),
    "ScheduleFreeAdamW": lambda **k: optimizers.ScheduleFreeAdamW(0.01, **k),
    "MultiOptimizer": several,
    "keras_dawn.SGD": lambda **k: keras_dawn.SGD(0.05, momentum=0.9, **k),
    "keras_dawn.LARS": lambda **k: keras_dawn.optimizers.LARS(0.5, **k),
    "keras_dawn.Muon": lambda **k: keras_dawn.optimizers.Muon(0.01, compute_dtype="float64", **k),
}
every = pytest.mark.parametrize("name", SIMPLE)


def test_every_exported_optimizer_is_fused_or_said_to_be_not():
    page = pathlib.Path(updates.__file__).parents[2] / "README.md"
    table = page.read_text(encoding="utf-8").split("## Optimizers")[1].split("\n## ")[0]
    for name in EXPORTED:
        assert f"`{name}`" in table, name
        assert (name in updates.FORMS) == (name not in ("LossScaleOptimizer", "MultiOptimizer"))
    assert EXPORTED - {"LossScaleOptimizer"} <= set(SIMPLE)


@every
def test_steps_are_fused_and_equal_plain_keras_in_float64(name, true_float64):
    ours = network(SIMPLE[name](), True)
    fit(ours)
    assert keras_dawn.explain(ours).optimizer == "native"
    theirs = network(SIMPLE[name](), False)
    fit(theirs)
    assert_equal(everything(ours), everything(theirs), 1e-10)


# All are compared in float32 where they skip steps, below.
LIKE_OTHERS = {"RMSprop", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta", "Ftrl", "Lion", "Lamb"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LIKE_OTHERS)) for n in SIMPLE]
)
def test_steps_equal_plain_keras_in_float32(name):
    assert_equal(*both(SIMPLE[name]), 1e-5)


def scheduled():
    return optimizers.schedules.ExponentialDecay(0.02, 5, 0.5)


def constrained(model):
    model.layers[0].kernel.constraint = constraints.MaxNorm(0.4)


SETTINGS = {
    "RMSprop, centred": lambda: optimizers.RMSprop(0.01, centered=True),
    "RMSprop, momentum": lambda: optimizers.RMSprop(scheduled(), momentum=0.9, centered=True),
    "Adam, AMSGrad": lambda: optimizers.Adam(0.01, amsgrad=True, beta_2=0.5),
    "SGD, Nesterov": lambda: optimizers.SGD(scheduled(), momentum=0.9, nesterov=True),
    "Adafactor, not relative": lambda: optimizers.Adafactor(0.05, relative_step=False),
    "Adafactor, scheduled": lambda: optimizers.Adafactor(scheduled()),
    "Ftrl, regularized": lambda: optimizers.Ftrl(
        0.05,
        l1_regularization_strength=0.01,
        l2_regularization_strength=0.1,
        l2_shrinkage_regularization_strength=0.1,
        beta=0.2,
    ),
    "Muon, moderate": lambda: optimizers.Muon(
        0.01, nesterov=False, rms_rate=None, weight_decay=None, exclude_layers=["dense_1"]
    ),
    "schedule-free, warmed up": lambda: optimizers.ScheduleFreeAdamW(0.01, warmup_steps=7),
    "LARS, Nesterov": lambda: keras_dawn.optimizers.LARS(0.5, nesterov=True, use_ema=True),
    "several, clipped": lambda: several(clipnorm=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_its_own_equal_plain_keras(name, true_float64):
    assert_equal(*both(SETTINGS[name]), 1e-10)


COMMON = {
    "decay": {"weight_decay": 0.1, "clipnorm": 0.05},
    "averages": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 3, "global_clipnorm": 0.1},
    "all": {
        "gradient_accumulation_steps": 2,
        "use_ema": True,
        "ema_overwrite_frequency": 2,
        "loss_scale_factor": 8.0,
        "clipvalue": 0.05,
    },
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("RMSprop", "averages"), ("RMSprop", "all"), ("Adam", "decay"), ("Adam", "accumulation"),
        ("SGD", "averages"), ("SGD", "all"), ("Adafactor", "accumulation"), ("Adafactor", "all"),
        ("Muon", "decay"), ("Muon", "averages"), ("keras_dawn.SGD", "decay"),
        ("keras_dawn.SGD", "accumulation"),
    ],
)  # fmt: skip
def test_settings_of_all_equal_plain_keras(name, settings, true_float64):
    make = SIMPLE[name]
    assert_equal(*both(lambda: make(**COMMON[settings]), before=constrained), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("settings", COMMON)
@every
def test_every_optimizer_takes_every_setting(name, settings, true_float64):
    assert_equal(*both(lambda: SIMPLE[name](**COMMON[settings]), before=constrained), 1e-10)


BROKEN = X.copy()
BROKEN[[9, 30, 37]] = np.inf  # in the third, the eighth and the last batch


class NeverWaits(TorchDispatchMode):
    """Where a tensor's number is asked for is an error: a GPU would be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "the device is asked"
        return function(*args, **(kwargs or {}))


def fit_without_waiting(model):
    """Twenty steps with skipped ones, the latter ten without a look at the device."""
    fit(model, BROKEN, epochs=1)
    engine = engine_of(model)
    if engine is None:
        fit(model, BROKEN, epochs=1)
        return
    engine.steps.log_every = 1000
    for start in range(0, 40, 4):
        batch = [torch.tensor(a[start : start + 4], dtype=torch.float32) for a in (BROKEN, Y)]
        with NeverWaits():
            engine.steps.train_step([tuple(batch)])
    model.optimizer.finalize_variable_values(model.trainable_variables)  # as `fit` does


def scaled(make, **settings):
    return lambda: optimizers.LossScaleOptimizer(make(**settings), dynamic_growth_steps=3)


@every
def test_steps_are_skipped_without_waiting_for_the_device(name):
    assert_equal(*both(scaled(SIMPLE[name]), fit_without_waiting), 2e-5)


@pytest.mark.parametrize("settings", COMMON)
@pytest.mark.parametrize("name", ["Adam", "RMSprop", "keras_dawn.Muon"])
def test_all_of_a_step_is_skipped(name, settings):
    make = scaled(SIMPLE[name], **COMMON[settings])
    assert_equal(*both(make, fit_without_waiting, before=constrained), 2e-5)


def test_plain_training_goes_on_from_the_state_of_fused_steps(true_float64):
    for name in ("Nadam", "Muon", "Adafactor"):
        ours, theirs = (network(SIMPLE[name](), native) for native in (True, False))
        fit(ours)
        keras_dawn.restore(ours)
        fit(ours)
        fit(theirs, epochs=4)
        assert_equal(everything(ours), everything(theirs), 1e-10)


def test_the_host_s_count_follows_what_others_count(true_float64):
    def train(model):
        fit(model, epochs=1)
        model.optimizer.variables[0].assign(5)  # `iterations` are those of whole updates
        fit(model, epochs=1)

    assert_equal(*both(lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3), train), 1e-10)


def test_a_setting_that_comes_too_late_is_keras_s_error():
    for name, value in (("use_ema", True), ("amsgrad", True)):
        for native in (True, False):
            model = network(optimizers.Adam(0.01), native)
            fit(model, epochs=1)
            setattr(model.optimizer, name, value)
            with pytest.raises(AttributeError):
                fit(model, epochs=1)
