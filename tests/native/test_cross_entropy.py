"""The cross-entropy of many probabilities, beside torch's own and plain Keras's."""

import threading

import keras_dawn
from keras_dawn.foundation import keras_cross_entropy
from keras_dawn.native import cross_entropy
from keras_dawn.native.cross_entropy import of_probabilities
from keras_dawn.native.steps import class_losses

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers, losses

from tests.native.own_models import descend

COUNT = cross_entropy.MANY
EDGES = torch.tensor([1e-7, 3e-7, 1e-4, 0.5, 1 - 1e-4, 1 - 2.5e-7, 1 - 1.2e-7])


def computed(function, probabilities, targets):
    probabilities = probabilities.clone().requires_grad_()
    values = function(probabilities, targets)
    (slopes,) = torch.autograd.grad(values.sum(), probabilities, create_graph=True)
    (second,) = torch.autograd.grad(slopes.square().sum(), probabilities)
    return values.detach(), slopes.detach(), second


def torch_s(probabilities, targets):
    return F.binary_cross_entropy(probabilities, targets, reduction="none")


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_as_exact_as_torch_s_and_both_derivatives_are_torch_s(dtype, shares):
    torch.manual_seed(0)
    probabilities = torch.cat([torch.rand(COUNT).clip(1e-7, 1 - 1.2e-7), EDGES])
    targets = torch.rand(len(probabilities))
    targets = (targets if shares else targets.round()).to(dtype)
    probabilities = probabilities.to(dtype)
    values, *derivatives = computed(of_probabilities, probabilities, targets)
    exact = torch_s(probabilities.double(), targets.double())
    tolerance = 2e-7 if dtype == torch.float32 else 1e-15
    torch.testing.assert_close(values.double(), exact, rtol=tolerance, atol=0)
    for found, other in zip(
        derivatives, computed(torch_s, probabilities, targets)[1:], strict=True
    ):
        torch.testing.assert_close(found, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    torch.manual_seed(0)
    probabilities = torch.rand(COUNT).clip(0.01, 0.99).to(dtype)
    targets = torch.rand(COUNT).to(dtype)
    exact = torch_s(probabilities.double(), targets.double())
    found = of_probabilities(probabilities, targets)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_probabilities_of_0_and_1_have_torch_s_values_and_take_the_same_way(monkeypatch, dtype):
    # In half precision Keras's clipping rounds to 1, which well learned pixels are.
    ends = torch.tensor([0.0, 1.0, 1e-44, 1e-7, 0.5], dtype=dtype).repeat(COUNT)
    targets = torch.tensor([0.0, 1.0, 0.25], dtype=dtype).repeat_interleave(5).repeat(COUNT // 3)
    probabilities = ends[: len(targets)]
    exact = torch_s(probabilities.double(), targets.double())
    losses_of_torch = torch_s(probabilities.requires_grad_(), targets)
    (slopes,) = torch.autograd.grad(losses_of_torch.sum(), probabilities)
    monkeypatch.delattr(cross_entropy.F, "binary_cross_entropy")
    found = of_probabilities(probabilities, targets)
    tolerance = max(2e-7 if dtype != torch.float64 else 1e-15, torch.finfo(dtype).eps / 2)
    torch.testing.assert_close(found.detach().double(), exact, rtol=tolerance, atol=0)
    (own,) = torch.autograd.grad(found.sum(), probabilities)
    known = ~slopes.isnan()  # torch's own divides 0 by 0 in float16
    torch.testing.assert_close(own[known], slopes[known])


def test_logarithms_end_where_torch_s_kernel_ends_them():
    probabilities = torch.full((COUNT,), 1e-60, dtype=torch.float64)  # of a tiny `epsilon`
    found = of_probabilities(probabilities, torch.ones_like(probabilities))
    assert found.eq(100.0).all()


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1])
def test_what_torch_refuses_is_refused(wrong):
    right, spoiled = torch.full((COUNT,), 0.5), torch.full((COUNT,), 0.5)
    spoiled[7] = wrong
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        of_probabilities(spoiled, right)
    outcomes = []
    for function in (of_probabilities, torch_s):  # targets: as torch has it in this version
        try:
            outcomes.append(torch.nan_to_num(function(right, spoiled)).sum().item())
        except RuntimeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_targets_that_have_a_gradient_get_torch_s():
    torch.manual_seed(0)
    probabilities = torch.rand(COUNT).clip(0.01, 0.99)
    found = []
    for function in (of_probabilities, torch_s):
        targets = probabilities.flip(0).requires_grad_()
        (slopes,) = torch.autograd.grad(function(probabilities, targets).sum(), targets)
        found.append(slopes)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("least", [0.0, 1e-44, 1e-60])
def test_logarithms_are_cut_where_torch_cuts_them(least):
    probabilities = torch.full((COUNT,), least, dtype=torch.float64)
    assert (of_probabilities(probabilities, torch.ones_like(probabilities)) == 100.0).all()


def test_functions_of_torch_that_transform_it_take_torch_s():
    targets = torch.ones(COUNT)
    slopes = torch.func.grad(lambda p: of_probabilities(p, targets).sum())(
        torch.full((COUNT,), 0.5)
    )
    torch.testing.assert_close(slopes, torch.full((COUNT,), -2.0))


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_losses_of_many_numbers_are_torch_s(reduction):
    targets = torch.rand(128, 128, dtype=torch.float64).round()
    probabilities = torch.linspace(1e-4, 1 - 1e-4, 128 * 128, dtype=torch.float64).view(128, 128)
    found = class_losses.of_two_classes(targets, probabilities, False, reduction)
    expected = F.binary_cross_entropy(probabilities, targets, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


class Reconstructs(keras.Model):
    """Trains by its own step and Keras's cross-entropy, and says which function computed it."""

    seen = ()

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(COUNT // 8, "sigmoid")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        Reconstructs.seen = (keras_cross_entropy.keras_nn.binary_crossentropy,)
        loss = keras.ops.mean(losses.binary_crossentropy(y, self(x, training=True)))
        descend(self, loss)
        return {"loss": loss}


def test_a_step_of_ones_own_computes_it_so_and_leaves_keras_as_it_was():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(24, 16)), generator.integers(0, 2, (24, COUNT // 8))
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        model = Reconstructs()
        model(x[:1])
        model.compile(keras.optimizers.SGD(0.1))
        if accelerate:
            keras_dawn.accelerate(model)
        history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        results.append([*history["loss"], *model.get_weights()])
        own = keras_cross_entropy._KERAS_FUNCTION
        assert (Reconstructs.seen[0] is not own) == accelerate
        assert keras_cross_entropy.keras_nn.binary_crossentropy is own
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_function_that_somebody_put_there_stays(monkeypatch):
    def theirs(target, output, from_logits=False):
        return output

    monkeypatch.setattr(keras_cross_entropy.keras_nn, "binary_crossentropy", theirs)
    with keras_cross_entropy.of_probabilities_by(of_probabilities):
        assert keras_cross_entropy.keras_nn.binary_crossentropy is theirs
    assert keras_cross_entropy.keras_nn.binary_crossentropy is theirs


def test_another_thread_meanwhile_gets_keras_s_own():
    probabilities, targets, found = torch.full((COUNT,), 0.3), torch.ones(COUNT), []

    def compute():
        found.append(keras.ops.binary_crossentropy(targets, probabilities))

    def theirs(p, t):
        return torch.zeros_like(p)

    with keras_cross_entropy.of_probabilities_by(theirs):
        compute()
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    assert not found[0].any()
    torch.testing.assert_close(found[1], torch_s(probabilities, targets))
