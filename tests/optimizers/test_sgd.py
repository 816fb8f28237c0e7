import keras_dawn
from keras_dawn import SGD
from keras_dawn.optimizers import LARS, Muon

import keras
import numpy as np
import pytest

from tests.on_device import torch


def variables(dtype="float64"):
    random = np.random.default_rng(0)
    return [
        keras.Variable(random.normal(size=shape), dtype=dtype, name=name)
        for shape, name in [((5, 3), "kernel"), ((3,), "bias"), ((2, 2, 3), "gamma")]
    ]


def gradients(step, like):
    random = np.random.default_rng(step)
    return [torch.tensor(random.normal(size=tuple(v.shape)), dtype=v.value.dtype) for v in like]


def run_both(ours, torch_optimizer, weights, torch_weights, steps=200):
    """Steps both with the same gradients, rate and momentum changing in every step."""
    for step in range(steps):
        rate = 0.1 * (1 + np.sin(step / 7)) + 1e-3
        momentum = 0.9 + 0.05 * np.cos(step / 11)
        ours.learning_rate = rate
        for group in torch_optimizer.param_groups:
            group["lr"] = rate * group.get("multiplier", 1.0)
        if ours.momentum:
            ours.momentum = momentum
            for group in torch_optimizer.param_groups:
                group["momentum"] = momentum
        given = gradients(step, weights)
        for weight, gradient in zip(torch_weights, given, strict=True):
            weight.grad = gradient.clone()
        ours.apply(given, weights)
        torch_optimizer.step()


def as_torch(weights):
    return [torch.nn.Parameter(v.value.detach().clone()) for v in weights]


def assert_equal(weights, torch_weights, tolerance):
    for ours, theirs in zip(weights, torch_weights, strict=True):
        torch.testing.assert_close(
            ours.value.detach(), theirs.detach(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-3])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.9, True), (0.0, False)])
def test_equals_torch_sgd_while_rate_and_momentum_change(momentum, nesterov, weight_decay, dtype):
    if dtype == "float64":
        keras.config.set_floatx("float64")
    weights = variables(dtype)
    theirs = as_torch(weights)
    ours = SGD(0.1, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    torch_sgd = torch.optim.SGD(
        theirs, lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    run_both(ours, torch_sgd, weights, theirs)
    assert_equal(weights, theirs, 1e-5 if dtype == "float32" else 1e-12)


def test_decay_exclusions_and_rate_multipliers_equal_torch_parameter_groups():
    keras.config.set_floatx("float64")
    weights = variables()
    theirs = as_torch(weights)
    ours = SGD(0.1, weight_decay=1e-2, no_decay=["bias"], rate_multipliers={"gamma|bias": 4.0})
    torch_sgd = torch.optim.SGD(
        [
            {"params": [theirs[0]], "weight_decay": 1e-2},
            {"params": [theirs[1]], "weight_decay": 0.0, "multiplier": 4.0},
            {"params": [theirs[2]], "weight_decay": 1e-2, "multiplier": 4.0},
        ],
        lr=0.1,
        momentum=0.9,
    )
    run_both(ours, torch_sgd, weights, theirs, steps=50)
    assert_equal(weights, theirs, 1e-12)


def test_decay_multipliers_equal_torch_parameter_groups():
    keras.config.set_floatx("float64")
    weights = variables()
    theirs = as_torch(weights)
    ours = SGD(
        0.1,
        weight_decay=1e-2,
        rate_multipliers={"bias": 64.0},
        decay_multipliers={"bias": 1 / 64, "kernel": 2.0},
        no_decay=["gamma"],
    )
    decays = {"kernel": 2e-2, "bias": 1e-2 / 64, "gamma": 0.0}
    groups = [
        {
            "params": [tensor],
            "weight_decay": next(d for name, d in decays.items() if name in weight.path),
            "multiplier": 64.0 if "bias" in weight.path else 1.0,
        }
        for weight, tensor in zip(weights, theirs, strict=True)
    ]
    run_both(ours, torch.optim.SGD(groups, lr=0.1, momentum=0.9), weights, theirs, steps=50)
    assert_equal(weights, theirs, 1e-12)
    assert SGD.from_config(ours.get_config()).decay_multipliers == ours.decay_multipliers


def test_decoupled_decay_by_hand():
    """Two steps with momentum: in the first, a coupled decay does the same."""
    keras.config.set_floatx("float64")
    weights = [keras.Variable([2.0], dtype="float64", name=name) for name in ("kernel", "gamma")]
    optimizer = SGD(
        0.5, momentum=0.9, weight_decay=0.1, decoupled=True, rate_multipliers={"gamma": 0.2},
        decay_multipliers={"gamma": 3.0},
    )  # fmt: skip
    for _ in range(2):
        optimizer.apply([torch.ones(1, dtype=torch.float64) for _ in weights], weights)
    kernel = (2 * 0.95 - 0.5) * 0.95 - 0.5 * 1.9
    gamma = (2 * 0.97 - 0.1) * 0.97 - 0.1 * 1.9
    assert [w.numpy()[0] for w in weights] == pytest.approx([kernel, gamma], abs=1e-12)


def test_the_decay_may_change_between_steps():
    keras.config.set_floatx("float64")
    weights = variables()
    theirs = as_torch(weights)
    ours = SGD(0.1, momentum=0.9, weight_decay=1e-2)
    torch_sgd = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=1e-2)
    for decay in (1e-2, 0.3, 0.0):
        ours.weight_decay = torch_sgd.param_groups[0]["weight_decay"] = decay
        run_both(ours, torch_sgd, weights, theirs, steps=3)
    assert_equal(weights, theirs, 1e-12)


def test_keras_own_exclusions_are_honoured():
    weights = variables("float32")
    before = weights[1].value.detach().clone()
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([torch.zeros(tuple(v.shape)) for v in weights], weights)
    torch.testing.assert_close(weights[1].value.detach(), before)
    assert not torch.allclose(weights[0].value.detach(), variables("float32")[0].value)


def test_clipping_comes_before_decay_and_velocity():
    weight = keras.Variable(np.array([1.0], "float32"))
    optimizer = SGD(1.0, momentum=0.0, weight_decay=0.5, clipvalue=0.1)
    optimizer.apply([torch.tensor([9.0])], [weight])
    assert weight.numpy()[0] == pytest.approx(1.0 - (0.1 + 0.5))


def test_state_survives_saving_in_the_middle(dense_model, points, tmp_path):
    def optimizer():
        return SGD(
            0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, no_decay=["bias"], name="sgd"
        )

    x, y = points
    unbroken = dense_model(optimizer())
    unbroken.save_weights(tmp_path / "start.weights.h5")
    broken = dense_model(optimizer())
    broken.load_weights(tmp_path / "start.weights.h5")
    for model in (unbroken, broken):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    broken.optimizer.momentum = unbroken.optimizer.momentum = 0.8
    broken.save(tmp_path / "model.keras")
    broken = keras.models.load_model(tmp_path / "model.keras")
    assert broken.optimizer.get_config() == unbroken.optimizer.get_config()
    assert broken.optimizer.momentum == 0.8
    for model in (unbroken, broken):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(broken.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_step_never_asks_the_device_for_a_number():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        names = ()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names += (str(function),)
            return function(*args, **(kwargs or {}))

    weights = variables("float32")
    optimizer = SGD(0.1, nesterov=True, weight_decay=1e-3, rate_multipliers={"bias": 2.0})
    optimizer.build(weights)
    with Calls() as calls:
        optimizer.momentum = 0.8
        with torch.no_grad():
            optimizer._backend_update_step(gradients(0, weights), weights, optimizer.learning_rate)
    assert any("foreach" in name for name in calls.names)
    assert not [name for name in calls.names if "item" in name or "_local_scalar" in name]


@pytest.mark.parametrize(
    "arguments",
    [
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"momentum": float("nan")},
        {"momentum": "a"},
        {"weight_decay": -1e-4},
        {"weight_decay": float("nan")},
        {"weight_decay": float("inf")},
        {"weight_decay": "a"},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": -0.1},
        {"learning_rate": "0.1"},
        {"nesterov": True, "momentum": "a"},
        {"nesterov": True, "momentum": 0.0},
        {"no_decay": ["("]},
        {"rate_multipliers": {"[": 1.0}},
        {"rate_multipliers": {"a": float("nan")}},
        {"rate_multipliers": {"a": -0.5}},
        {"rate_multipliers": ["a"]},
        {"decay_multipliers": {"a": float("inf")}},
        {"decay_multipliers": {"a": "2"}},
    ],
)
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="got|regular expression"):
        SGD(**{"learning_rate": 0.1, **arguments})


def test_numbers_of_other_kinds_are_taken_and_assigned_ones_checked():
    decay, rate = torch.tensor(0.01), np.float32(0.1)
    optimizer = SGD(rate, np.float64(0.5), weight_decay=decay)
    assert optimizer.momentum == 0.5 and optimizer.weight_decay == float(decay)
    assert SGD(0).weight_decay == SGD(0.1, weight_decay=None).weight_decay == 0.0
    SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    for name, value in (("momentum", "a"), ("weight_decay", float("nan"))):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            setattr(optimizer, name, value)
    assert SGD.from_config(optimizer.get_config()).momentum == 0.5


def test_momentum_cannot_be_raised_where_no_velocity_is_kept():
    optimizer = SGD(0.1, momentum=0.0)
    optimizer.momentum = 0.5  # not built yet
    optimizer.momentum = 0.0
    optimizer.build(variables())
    with pytest.raises(ValueError, match="keeps no velocity"):
        optimizer.momentum = 0.5


@pytest.mark.parametrize("kind", [SGD, LARS, Muon])
@pytest.mark.parametrize("accelerated", [False, True])
def test_weights_are_excluded_from_decay_after_the_first_step_too(kind, accelerated):
    # As of an optimizer that was loaded with its model: the file does not say which they are.
    x = np.zeros((4, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    model.compile(kind(0.1, weight_decay=0.5), "mse")
    if accelerated:
        keras_dawn.accelerate(model)
    model.fit(x, x[:, :2], verbose=0)
    before = model.get_weights()[0]
    model.optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model.optimizer.momentum = 0.0  # what the decay has left in the velocity
    model.fit(x, x[:, :2], verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    model.optimizer.exclude_from_weight_decay(var_names=["other"])
    model.fit(x, x[:, :2], verbose=0)
    assert not np.array_equal(model.get_weights()[0], before)


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 ** int(step)

    def get_config(self):
        return {}


@pytest.mark.parametrize("kind", [SGD, LARS, Muon])
@pytest.mark.parametrize("rate", [Halving(), lambda: 1])
def test_a_rate_may_be_called_and_be_a_python_number(kind, rate):
    weights, expected = variables("float32"), variables("float32")
    ours, theirs = kind(rate), kind(1.0)
    for step in range(3):
        given = gradients(step, weights)
        theirs.learning_rate = 0.5**step if isinstance(rate, Halving) else 1.0
        ours.apply([g.clone() for g in given], weights)
        theirs.apply(given, expected)
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
