"""Optimizer steps of accelerated training against plain Keras's, over twenty steps."""

import functools

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tests.on_device import ON_GPU, torch

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(40, 2, 4)), RANDOM.normal(size=(40, 3))


def network(optimizer, native, build=None):
    keras.utils.set_random_seed(3)
    # The recurrent kernel is square and orthogonal, its memory that of a transposed matrix.
    layers_ = build() if build else [layers.SimpleRNN(3), layers.Dense(3)]
    model = keras.Sequential([keras.Input((2, 4)), *layers_])
    model.compile(optimizer() if callable(optimizer) else optimizer, "mse", metrics=["mae"])
    return keras_dawn.accelerate(model) if native else model


def fit(model, x=X, y=Y, **arguments):
    settings = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, **settings).history["loss"]


def everything(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def assert_equal(ours, theirs, tolerance=1e-12):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def both(optimizer, train=fit, build=None):
    found = []
    for native in (True, False):
        model = network(optimizer, native, build)
        train(model)
        found.append(everything(model))
    return found


def scheduled(rate=0.1):
    return optimizers.schedules.CosineDecay(rate, 15)


def not_all_decayed(kind=optimizers.SGD, **arguments):
    optimizer = kind(0.05, weight_decay=0.1, **arguments)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class ConstrainedDense(layers.Dense):
    def __init__(self):
        super().__init__(3, kernel_constraint=keras.constraints.MaxNorm(0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.SGD(0.1),
        lambda: optimizers.SGD(0.1, momentum=0.9),
        lambda: optimizers.SGD(scheduled(), momentum=0.9, nesterov=True, clipnorm=0.3),
        lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.2),
        lambda: optimizers.SGD(0.1, momentum=0.9, clipvalue=0.05, use_ema=True),
        lambda: optimizers.SGD(lambda: 0.07, momentum=0.5),
        lambda: not_all_decayed(momentum=0.9),
        lambda: optimizers.Adam(scheduled(0.01), clipnorm=0.1),
        lambda: optimizers.Adam(0.01, epsilon=0.1, beta_2=0.9, weight_decay=0.0),
        lambda: optimizers.Adam(0.01, beta_2=1.0, weight_decay=0.1),
        lambda: optimizers.Adam(0.01, amsgrad=True, gradient_accumulation_steps=3),
        lambda: not_all_decayed(optimizers.AdamW, global_clipnorm=0.2),
        lambda: optimizers.AdamW(
            0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3, loss_scale_factor=8.0
        ),
        lambda: keras_dawn.SGD(scheduled(), momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda: optimizers.Nadam(0.01),
    ],
)
def test_steps_and_state_equal_plain_keras_in_float64(make, true_float64):
    assert_equal(*both(make))


def test_constrained_weights_equal_plain_keras(true_float64):
    def build():
        return [layers.Flatten(), ConstrainedDense()]

    assert_equal(*both(lambda: optimizers.Adam(0.1), build=build))


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam, keras_dawn.SGD])
@pytest.mark.parametrize(
    "scalar",
    [
        np.float32,
        lambda value: keras.Variable(value, trainable=False),
        lambda value: torch.tensor(value, dtype=torch.float64),
    ],
    ids=["NumPy's", "variable", "tensor"],
)
def test_hyper_parameters_may_be_any_kind_of_scalar(kind, scalar):
    found = []
    for number in (scalar, float):
        model = network(kind(0.05), native=True)
        optimizer = model.optimizer
        fit(model, epochs=1)
        optimizer.learning_rate = number(0.25)
        optimizer.clipnorm = number(0.125)
        names = {optimizers.SGD: ["weight_decay"], keras_dawn.SGD: []}
        for name in names.get(kind, ["weight_decay", "beta_1", "beta_2", "epsilon"]):
            setattr(optimizer, name, number(0.5))
        fit(model, epochs=1)
        found.append(model.get_weights())
    assert_equal(*found, tolerance=1e-7)


@pytest.mark.parametrize(
    ("kind", "values"),
    [(optimizers.SGD, (0.9, 0.0, 0.5)), (keras_dawn.SGD, (0.9, 0.0, 0.5))],
)
def test_momentum_may_pass_through_zero(kind, values, true_float64):
    def train(model):
        for value in values:
            model.optimizer.momentum = value
            fit(model, epochs=1)

    assert_equal(*both(lambda: kind(0.1, momentum=0.9, weight_decay=0.1), train))


def test_momentum_of_an_optimizer_built_without_is_keras_s_error():
    for native in (True, False):
        model = network(optimizers.SGD(0.1), native)
        fit(model, epochs=1)
        model.optimizer.momentum = 0.9
        with pytest.raises(IndexError):
            fit(model, epochs=1)


def counter_set_back(model):
    fit(model)
    model.optimizer.iterations.assign(3)
    fit(model)


def state_put_back(model):
    fit(model)
    before = everything(model)
    fit(model)
    for variable, value in zip([*model.variables, *model.optimizer.variables], before, strict=True):
        variable.assign(value)
    fit(model)


def rate_and_betas_changed(model):
    fit(model)
    model.optimizer.learning_rate = 0.001
    model.optimizer.beta_1 = 0.5
    fit(model)
    model.optimizer.learning_rate = scheduled(0.01)
    fit(model)


def settings_of_apply_changed(model):
    fit(model)
    model.optimizer.loss_scale_factor = 4.0
    fit(model)


@pytest.mark.parametrize(
    "train", [counter_set_back, state_put_back, rate_and_betas_changed, settings_of_apply_changed]
)
def test_adam_follows_what_others_write(train, true_float64):
    assert_equal(*both(lambda: optimizers.Adam(0.01), train))


def test_adam_takes_keras_s_steps_in_float32_from_the_first_on():
    def train(model):
        model.train_on_batch(X[:4], Y[:4])

    # torch's kernel for a GPU weighs squares with 1 − β₂ rounded to float32: 6.5e-6 of a step.
    tolerance = 1e-5 if ON_GPU else 2e-6
    assert_equal(*both(lambda: optimizers.Adam(1.0), train), tolerance=tolerance)


@pytest.mark.parametrize("make", [lambda: optimizers.SGD(0.1, momentum=0.9), optimizers.Adam])
def test_plain_training_goes_on_from_the_state_that_fused_steps_leave(make, true_float64):
    def train(model):
        fit(model)
        keras_dawn.restore(model)
        fit(model)
        keras_dawn.accelerate(model)
        fit(model)

    ours, theirs = network(make, True), network(make, False)
    train(ours)
    for _ in range(3):
        fit(theirs)
    assert_equal(everything(ours), everything(theirs))


def test_state_follows_a_weight_whose_memory_was_laid_out_anew(true_float64):
    def train(model):
        fit(model)
        kernel = model.layers[0].cell.recurrent_kernel.value
        kernel.data = kernel.data.mT.contiguous().mT
        fit(model)

    assert_equal(*both(lambda: optimizers.SGD(0.1, momentum=0.9), train))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
@pytest.mark.filterwarnings("ignore:.*skipped because they do not support quantization")  # 3.16
@pytest.mark.parametrize("make", [lambda: optimizers.SGD(0.1), lambda: optimizers.Adam(0.01)])
def test_variables_overwritten_with_their_gradient_equal_plain_keras(make):
    def build():
        return [layers.Flatten(), layers.Dense(8), layers.Dense(3)]

    found = []
    for native in (True, False):
        model = network(make, False, build)
        model.quantize("float8")
        model.compile(make(), "mse")
        fit(keras_dawn.accelerate(model) if native else model)
        found.append(everything(model))
    assert_equal(*found, tolerance=1e-5)


@pytest.mark.filterwarnings("ignore:.*does not scale the loss")
def test_half_precision_weights_step_as_in_plain_keras():
    def build():
        return [layers.Flatten(), layers.Dense(3)]

    keras.config.set_dtype_policy("float16")
    optimizer = functools.partial(optimizers.Adam, 0.01, epsilon=1e-3)
    assert_equal(*both(optimizer, build=build), tolerance=5e-3)


@pytest.mark.parametrize("around", [lambda o: o, optimizers.LossScaleOptimizer])
def test_an_optimizer_whose_apply_was_replaced_is_asked(around):
    model = network(around(optimizers.SGD(0.1)), native=True)
    applied, apply = [], model.optimizer.apply
    model.optimizer.apply = lambda grads, variables: applied.append(1) or apply(grads, variables)
    fit(model, epochs=1)
    assert len(applied) == 10


class Twice(optimizers.LossScaleOptimizer):
    """An optimizer around another one that is more than loss scaling."""

    def apply(self, grads, trainable_variables=None):
        super().apply([2 * gradient for gradient in grads], trainable_variables)


@pytest.mark.parametrize("around", [optimizers.LossScaleOptimizer, Twice])
@pytest.mark.parametrize("inner", [optimizers.Adam, lambda: optimizers.SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers_around_others_equal_plain_keras(around, inner, dtype, request):
    tolerance = 1e-4 if ON_GPU else 1e-5  # cuDNN's roundings, in steps of twice the rate
    if dtype == "float64":
        request.getfixturevalue("true_float64")
        tolerance = 1e-10
    assert_equal(*both(lambda: around(inner(), dynamic_growth_steps=3)), tolerance=tolerance)
