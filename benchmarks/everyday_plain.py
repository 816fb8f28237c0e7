"""Plain networks compiled as most people do, by strings, and the same as PyTorch by hand."""

import keras
import torch
import torch.nn.functional as F
from everyday_twins import AUC, AbsoluteError, BinaryAccuracy, Case, adam, linear_of
from keras import layers
from torch import nn


def classifier_in_keras():
    model = keras.Sequential(
        [keras.Input((30,)), layers.Dense(64, "relu"), layers.Dense(64, "relu"),
         layers.Dense(1, "sigmoid")]
    )  # fmt: skip
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    return model


def regression_in_keras():
    model = keras.Sequential(
        [keras.Input((13,)), layers.Dense(64, "relu"), layers.Dense(64, "relu"), layers.Dense(1)]
    )
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 1000, 0.9)
    model.compile(keras.optimizers.Adam(schedule), "mse", metrics=["mae"])
    return model


class Hidden(nn.Module):
    """Three dense layers."""

    def __init__(self, model):
        super().__init__()
        self.first, self.second, self.head = map(linear_of, model.layers)

    def forward(self, x):
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


class Classifier(Hidden):
    def forward(self, x):
        return torch.sigmoid(super().forward(x))


def _adam_and_schedule(parameters):
    optimizer = torch.optim.Adam(parameters, 1e-2, eps=1e-7, fused=True)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9 ** (1 / 1000))


def cases():
    """The `Case`s, in the order of the table."""
    return [
        Case("binary classifier, strings and AUC", classifier_in_keras, Classifier,
             F.binary_cross_entropy, (BinaryAccuracy, AUC),
             lambda: (torch.randn(32, 30), torch.randint(0, 2, (32, 1)).float()), adam(1e-3)),
        Case("regression, mse, schedule, mae", regression_in_keras, Hidden, F.mse_loss,
             (AbsoluteError,), lambda: (torch.randn(32, 13), torch.randn(32, 1)),
             _adam_and_schedule),
    ]  # fmt: skip
