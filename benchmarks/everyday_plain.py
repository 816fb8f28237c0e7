"""Plain networks compiled as most people do, by strings, and the same as PyTorch by hand."""

import keras
import torch
import torch.nn.functional as F
from everyday_loop import AUC, AbsoluteError, Accuracy, LogitAccuracy
from everyday_twins import SMALL, Case, adam, all_of, linear_of
from everyday_variants import PENALTY, Regularized
from keras import layers
from torch import nn

L2 = 1e-4


def _dense(inputs, width, outputs, activation=None, **arguments):
    return keras.Sequential(
        [keras.Input((inputs,)), layers.Dense(width, "relu", **arguments),
         layers.Dense(width, "relu", **arguments), layers.Dense(outputs, activation)]
    )  # fmt: skip


def digits_in_keras(width):
    model = _dense(784, width, 10, kernel_regularizer=keras.regularizers.l2(L2))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def classifier_in_keras(width):
    model = _dense(30, width, 1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    return model


def regression_in_keras(width):
    model = _dense(13, width, 1)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 1000, 0.9)
    model.compile(keras.optimizers.Adam(schedule), "mse", metrics=["mae"])
    return model


def rmsprop_in_keras(width):
    model = _dense(13, width, 1)
    model.compile(keras.optimizers.RMSprop(1e-3), "mse", metrics=["mae"])
    return model


class Hidden(nn.Module):
    """Three dense layers."""

    def __init__(self, model):
        super().__init__()
        self.first, self.second, self.head = all_of(model, layers.Dense, linear_of)

    def forward(self, x):
        return self.head(F.relu_(self.second(F.relu_(self.first(x)))))


class Digits(Regularized, Hidden):
    variants = PENALTY

    def __init__(self, model, decay):
        super().__init__(model)
        self.decay = decay

    def regularized(self):
        return L2, [self.first.weight, self.second.weight]


class LogitAUC(AUC):
    def add(self, outputs, y):
        super().add(torch.sigmoid(outputs), y)


class Decay:
    """The rate as `ExponentialDecay` has it: torch's scheduler spends more in Python."""

    def __init__(self, optimizer):
        (self.group,), self.steps = optimizer.param_groups, 0

    def step(self):
        self.steps += 1
        self.group["lr"] = 1e-2 * 0.9 ** (self.steps / 1000)


def _adam_and_schedule(parameters):
    optimizer = torch.optim.Adam(parameters, 1e-2, eps=1e-7, fused=True)
    return optimizer, Decay(optimizer)


class RMSprop(torch.optim.Optimizer):
    """RMSprop as Keras has it, epsilon under the root, by torch's operations for all weights."""

    def __init__(self, parameters, rate):
        super().__init__(parameters, {"lr": rate})
        self.weights = self.param_groups[0]["params"]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self):
        gradients = [weight.grad for weight in self.weights]
        torch._foreach_mul_(self.squares, 0.9)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 0.1)
        roots = torch._foreach_add(self.squares, 1e-7)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(self.weights, gradients, roots, -self.param_groups[0]["lr"])


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count, width = 32 * scale.samples, 64 * scale.width**2
    regression = F.mse_loss, {"mae": AbsoluteError}

    def series():
        return torch.randn(count, 13), torch.randn(count, 1)

    return [
        Case("MLP, l2", lambda: digits_in_keras(width), Digits, F.cross_entropy,
             {"accuracy": Accuracy},
             lambda: (torch.rand(count, 784), torch.randint(0, 10, (count,))), adam(1e-3)),
        Case("binary classifier, strings and AUC", lambda: classifier_in_keras(width), Hidden,
             F.binary_cross_entropy_with_logits, {"accuracy": LogitAccuracy, "AUC": LogitAUC},
             lambda: (torch.randn(count, 30), torch.randint(0, 2, (count, 1)).float()),
             adam(1e-3), prediction=torch.sigmoid),
        Case("regression, mse, schedule, mae", lambda: regression_in_keras(width), Hidden,
             *regression, series, _adam_and_schedule),
        Case("regression, RMSprop", lambda: rmsprop_in_keras(width), Hidden, *regression,
             series, lambda parameters: (RMSprop(parameters, 1e-3), None)),
    ]  # fmt: skip
