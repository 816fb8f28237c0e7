"""Muon against torch and hand-computed steps; settings of LARS and Muon."""

from keras_dawn.optimizers import LARS, SGD, Muon
from keras_dawn.optimizers.muon import orthogonalize

import keras
import numpy as np
import pytest

from tests.on_device import torch


def variables(dtype="float64"):
    random = np.random.default_rng(0)
    return [
        keras.Variable(random.normal(size=shape), dtype=dtype, name=name)
        for shape, name in [((3, 3, 4, 8), "filters"), ((6, 5), "kernel"), ((5,), "bias")]
    ]


def gradients(step, like):
    random = np.random.default_rng(step)
    return [torch.tensor(random.normal(size=tuple(v.shape)), dtype=v.value.dtype) for v in like]


@pytest.mark.parametrize("adjustment", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_of_matrices_is_torchs(nesterov, adjustment):
    weights = [v for v in variables("float32") if v.name == "kernel"]
    theirs = torch.nn.Parameter(weights[0].value.detach().T.clone())  # outputs by inputs
    ours = Muon(0.1, 0.9, nesterov, weight_decay=0.1, adjustment=adjustment)
    torchs = torch.optim.Muon(
        [theirs], lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.1,
        adjust_lr_fn=adjustment,
    )  # fmt: skip
    for step in range(10):
        given = gradients(step, weights)
        theirs.grad = given[0].T.clone()
        ours.apply(given, weights)
        torchs.step()
    # Both iterate in bfloat16, from numbers that differ by a factor before they are rounded.
    torch.testing.assert_close(weights[0].value.detach(), theirs.detach().T, rtol=0, atol=0.05)
    moved = (weights[0].value.detach() - variables("float32")[1].value).abs().max()
    assert moved > 0.3


@pytest.mark.parametrize(
    "shape, original, match_rms_adamw",
    [
        ((3, 12), 2.0, 0.2 * 12**0.5),  # inputs by outputs
        ((12, 3), 1.0, 0.2 * 12**0.5),
        ((2, 2, 2, 32), 2.0, 0.2 * 32**0.5),  # a filter of 8 inputs
        ((3, 3, 4, 9), 1.0, 0.2 * 36**0.5),
    ],
)
def test_muons_adjustment_of_the_rate_by_hand(shape, original, match_rms_adamw):
    keras.config.set_floatx("float64")
    gradient = torch.tensor(np.random.default_rng(0).normal(size=shape))
    steps = {}
    for adjustment in ("original", "match_rms_adamw", None):
        weight = keras.Variable(np.zeros(shape), dtype="float64")
        Muon(0.5, adjustment=adjustment, compute_dtype="float64").apply([gradient], [weight])
        steps[adjustment] = weight.value.detach()
    torch.testing.assert_close(steps["original"], original * steps[None])
    torch.testing.assert_close(steps["match_rms_adamw"], match_rms_adamw * steps[None])


def test_a_filter_is_orthogonalised_as_outputs_by_inputs():
    keras.config.set_floatx("float64")
    weights = variables()
    before, given = weights[0].numpy().copy(), gradients(0, weights)
    Muon(0.1, nesterov=False, adjustment=None, compute_dtype="float64").apply(given, weights)
    step = (before - weights[0].numpy()) / 0.1
    as_torch = torch.tensor(step).permute(3, 2, 0, 1).reshape(8, -1)
    direction = given[0].permute(3, 2, 0, 1).reshape(8, -1)
    torch.testing.assert_close(as_torch, orthogonalize(direction, dtype=torch.float64))


def test_attention_is_orthogonalised_with_all_its_heads_and_without_its_biases():
    keras.config.set_floatx("float64")
    layer = keras.layers.MultiHeadAttention(4, 2, dtype="float64")
    layer.build((2, 5, 6), (2, 5, 6))
    weights = layer.trainable_variables
    before, given = [w.numpy().copy() for w in weights], gradients(0, weights)
    optimizer = Muon(0.1, nesterov=False, adjustment=None, compute_dtype="float64")
    optimizer.apply([g.clone() for g in given], weights)
    assert [tuple(w.shape) for w in weights[:2]] == [(6, 4, 2), (4, 2)]
    for weight, old, gradient in zip(weights, before, given, strict=True):
        step = torch.tensor((old - weight.numpy()) / 0.1)
        if weight.name == "kernel":
            inputs = 8 if "output" in weight.path else 6
            step, gradient = step.reshape(inputs, -1), gradient.reshape(inputs, -1)
            gradient = orthogonalize(gradient, dtype=torch.float64)
        torch.testing.assert_close(step, gradient)


def test_how_a_filter_lies_in_memory_does_not_change_its_step():
    keras.config.set_floatx("float64")
    steps = []
    for order in ((0, 1, 2, 3), (3, 0, 1, 2)):  # as Keras makes it, and as torch's view of it lies
        back = [order.index(axis) for axis in range(4)]
        lying = [one.permute(order).contiguous().permute(back) for one in _filters_and_gradients()]
        weight = keras.Variable(np.zeros((3, 3, 4, 9)), dtype="float64")
        weight.value.data = lying[0]
        Muon(0.1, compute_dtype="float64").apply([lying[1]], [weight])
        assert weight.value.stride() == lying[0].stride()
        steps.append(weight.value.detach())
    torch.testing.assert_close(*steps)


def _filters_and_gradients():
    random = np.random.default_rng(0)
    return [torch.tensor(random.normal(size=(3, 3, 4, 9))) for _ in range(2)]


@pytest.mark.parametrize("steps, dtype", [(3, "float64"), (7, "float32"), (4, "bfloat16")])
def test_the_iteration_has_the_steps_and_the_precision_it_is_given(steps, dtype):
    keras.config.set_floatx("float64")
    gradient = torch.tensor(np.random.default_rng(0).normal(size=(6, 9)))
    weight = keras.Variable(np.zeros((6, 9)), dtype="float64")
    optimizer = Muon(
        1.0, momentum=0.0, nesterov=False, adjustment=None, newton_schulz_steps=steps,
        compute_dtype=dtype,
    )  # fmt: skip
    optimizer.apply([gradient], [weight])
    expected = orthogonalize(gradient[None], steps, getattr(torch, dtype))[0].double()
    torch.testing.assert_close(weight.value.detach(), -expected, rtol=0, atol=1e-9)


def test_each_step_of_the_iteration_may_have_coefficients_of_its_own():
    """Against the same polynomials of the singular values: those of Polar Express from 0.01 on."""
    each = [(8.0132, -22.9258, 16.5994), (3.6006, -2.6419, 0.5105), (2.6613, -1.9772, 0.4526)]
    keras.config.set_floatx("float64")
    gradient = torch.tensor(np.random.default_rng(0).normal(size=(3, 3, 2, 9)))
    weight = keras.Variable(np.zeros((3, 3, 2, 9)), dtype="float64")
    optimizer = Muon(
        1.0, momentum=0.0, nesterov=False, adjustment=None, newton_schulz_steps=3,
        newton_schulz_coefficients=each, compute_dtype="float64",
    )  # fmt: skip
    optimizer.apply([gradient], [weight])
    u, s, v = torch.linalg.svd(gradient.reshape(18, 9), full_matrices=False)
    s = s / s.norm()
    for a, b, c in each:
        s = a * s + b * s**3 + c * s**5
    assert float((s - 1).abs().max()) < 0.27  # as they promise; Jordan's three steps leave 0.4
    found = weight.value.detach().reshape(18, 9)
    torch.testing.assert_close(found, -(u * s) @ v, rtol=0, atol=1e-9)


def test_muon_takes_rates_and_decays_by_weight_into_account():
    keras.config.set_floatx("float64")
    ours, faster, plain = variables(), variables(), variables()
    common = {"compute_dtype": "float64"}
    optimizers = [
        Muon(
            0.1, weight_decay=0.2, rate_multipliers={"filters": 3.0},
            decay_multipliers={"filters": 0.5}, **common,
        ),
        Muon(0.3, weight_decay=0.1, **common),
        Muon(0.1, weight_decay=0.2, **common),
    ]  # fmt: skip
    for step in range(2):
        for optimizer, weights in zip(optimizers, (ours, faster, plain), strict=True):
            optimizer.apply(gradients(step, weights), weights)
    for weight, like in zip(ours, [faster[0], *plain[1:]], strict=True):
        np.testing.assert_allclose(weight.numpy(), like.numpy(), rtol=1e-9, atol=1e-12)
    by_hand = variables()[1]
    Muon(0.1, weight_decay=0.2).apply([torch.zeros(6, 5, dtype=torch.float64)], [by_hand])
    np.testing.assert_allclose(by_hand.numpy(), (1 - 0.1 * 0.2) * variables()[1].numpy())


def test_muon_leaves_embeddings_depthwise_filters_and_the_last_layer_to_sgd():
    keras.config.set_floatx("float64")
    layers = [
        keras.layers.Embedding(4, 3, dtype="float64"),
        keras.layers.DepthwiseConv2D(3, dtype="float64"),
        keras.layers.Dense(3, name="predictions", dtype="float64"),
        keras.layers.Dense(3, name="hidden", dtype="float64"),
    ]
    for layer, shape in zip(layers, [(2,), (2, 8, 8, 3), (2, 4), (2, 4)], strict=True):
        layer.build(shape)
    weights = [layer.trainable_variables[0] for layer in layers]
    before = [w.numpy().copy() for w in weights]
    moved = []
    for optimizer in (Muon(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True)):
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
        optimizer.apply(gradients(0, weights), weights)
        moved.append([w.numpy() - value for w, value in zip(weights, before, strict=True)])
    assert [np.allclose(*pair) for pair in zip(*moved, strict=True)] == [True, True, True, False]


def test_what_muon_does_not_orthogonalise_is_sgds():
    keras.config.set_floatx("float64")
    ours, plain = variables(), variables()
    muon = Muon(0.1, exclude=["filters", "kernel"], sgd_momentum=0.8, nesterov=True)
    sgd = SGD(0.1, momentum=0.8, nesterov=True)
    for step in range(5):
        muon.apply(gradients(step, ours), ours)
        sgd.apply(gradients(step, plain), plain)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_weights_are_brought_to_their_norm_before_the_step():
    keras.config.set_floatx("float64")
    weights = variables()
    Muon(1e-9, normalize_weights=True, compute_dtype="float64").apply(
        gradients(0, weights), weights
    )
    assert np.linalg.norm(weights[0].numpy()) == pytest.approx(8**0.5)
    assert np.linalg.norm(weights[1].numpy()) == pytest.approx(5**0.5)


@pytest.mark.parametrize("shape", [(8, 36), (36, 8), (2, 10, 10)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(shape, dtype=torch.float64)
    values = torch.linalg.svdvals(orthogonalize(matrices, 10, torch.float64))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


@pytest.mark.parametrize(
    "optimizer",
    [
        LARS(2.0, weight_decay=1e-4, trust_coefficient=0.01, no_adaptation=["stem"]),
        Muon(0.3, sgd_momentum=0.5, adjustment=None, exclude=["head"], newton_schulz_steps=3),
        Muon(newton_schulz_steps=2, newton_schulz_coefficients=[[3, -4.5, 2], (2.5, -2.0, 0.5)]),
    ],
)
def test_the_settings_survive_serialisation(optimizer):
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LARS(trust_coefficient=0), "`trust_coefficient`"),
        (lambda: LARS(trust_coefficient="a"), "`trust_coefficient` must be above 0, got 'a'"),
        (lambda: LARS(epsilon=-1), "`epsilon`"),
        (lambda: LARS(epsilon=float("inf")), "`epsilon`"),
        (lambda: LARS(float("nan")), "`learning_rate` must be a finite number from 0 up"),
        (lambda: LARS(decoupled=True), "couples"),
        (lambda: LARS(no_adaptation=["("]), "regular expression"),
        (lambda: Muon(sgd_momentum=1.0), "`sgd_momentum`"),
        (lambda: Muon(sgd_momentum="a"), "`sgd_momentum`"),
        (lambda: Muon(adjustment="other"), "`adjustment`"),
        (lambda: Muon(newton_schulz_steps=0), "`newton_schulz_steps`"),
        (lambda: Muon(newton_schulz_coefficients=(3.0, 1.0)), "`newton_schulz_coefficients`"),
        (lambda: Muon(newton_schulz_coefficients=()), "`newton_schulz_coefficients`"),
        (lambda: Muon(newton_schulz_coefficients=[(3, -4, 2)] * 4), "of the 5 steps"),
        (lambda: Muon(newton_schulz_coefficients=[(3, -4, 2), 1, 2]), "of the 5 steps"),
        (lambda: Muon(compute_dtype="int8"), "`compute_dtype`"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
