"""The VAE and the GAN of `own_python.py` twice: in Keras, with their own steps, and as loops."""

import itertools

import keras
import torch
import torch.nn.functional as F
from keras import layers, ops
from torch import nn

LATENT = 8


class VAE(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.hidden = layers.Dense(width, "relu")
        self.mean, self.log_variance = layers.Dense(LATENT), layers.Dense(LATENT)
        self.log_variance.build((None, width))  # `call` does not use it
        self.decoder = keras.Sequential(
            [keras.Input((LATENT,)), layers.Dense(width, "relu"), layers.Dense(width, "relu"),
             layers.Dense(64, "sigmoid")]
        )  # fmt: skip
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def call(self, x):
        return self.decoder(self.mean(self.hidden(x)))

    def train_step(self, data):
        x = data[0] if isinstance(data, (tuple, list)) else data
        hidden = self.hidden(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + ops.exp(0.5 * log_variance) * torch.randn_like(mean)
        loss = _vae_loss(x, self.decoder(z), mean, log_variance)
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([w.value.grad for w in weights], weights)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def _vae_loss(x, reconstruction, mean, log_variance):
    difference = (x - reconstruction).square().sum(1).mean()
    return difference - 0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


def vae_in_keras(width):
    model = VAE(width)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def _dense(*sizes, last=None):
    modules = []
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        modules.append(nn.Linear(before, after))
        if number < len(sizes) - 2:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules, *([last] if last else []))


class VAELoop:
    """The VAE's step in PyTorch."""

    def __init__(self, width):
        self.hidden = _dense(64, width, last=nn.ReLU())
        self.mean, self.log_variance = nn.Linear(width, LATENT), nn.Linear(width, LATENT)
        self.decoder = _dense(LATENT, width, width, 64, last=nn.Sigmoid())
        modules = nn.ModuleList([self.hidden, self.mean, self.log_variance, self.decoder])
        self.optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3, fused=True)
        self.total = torch.zeros(())

    def train(self, batch, steps):
        (x,) = batch
        for _ in range(steps):
            hidden = self.hidden(x)
            mean, log_variance = self.mean(hidden), self.log_variance(hidden)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            loss = _vae_loss(x, self.decoder(z), mean, log_variance)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.total += loss.detach()


class GAN(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((LATENT,)), layers.Dense(width, "relu"), layers.Dense(width, "relu"),
             layers.Dense(64)]
        )  # fmt: skip
        self.discriminator = keras.Sequential(
            [keras.Input((64,)), layers.Dense(width, "relu"), layers.Dense(width, "relu"),
             layers.Dense(1)]
        )  # fmt: skip
        self.built = True

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def _step(self, optimizer, network, loss):
        self.zero_grad()
        loss.backward()
        weights = network.trainable_weights
        with torch.no_grad():
            optimizer.apply([w.value.grad for w in weights], weights)

    def train_step(self, data):
        x = data[0] if isinstance(data, (tuple, list)) else data
        fake = self.generator(torch.randn(len(x), LATENT))
        d_loss = _d_loss(self.discriminator(x), self.discriminator(fake.detach()))
        self._step(self.d_optimizer, self.discriminator, d_loss)
        g_loss = F.softplus(-self.discriminator(fake)).mean()
        self._step(self.g_optimizer, self.generator, g_loss)
        return {"d_loss": d_loss.detach(), "g_loss": g_loss.detach()}


def _d_loss(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def gan_in_keras(width):
    model = GAN(width)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    return model


class GANLoop:
    """The GAN's step in PyTorch."""

    def __init__(self, width):
        self.generator = _dense(LATENT, width, width, 64)
        self.discriminator = _dense(64, width, width, 1)
        self.d_optimizer, self.g_optimizer = (
            torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
            for network in (self.discriminator, self.generator)
        )

    def train(self, batch, steps):
        (x,) = batch
        for _ in range(steps):
            fake = self.generator(torch.randn(len(x), LATENT))
            d_loss = _d_loss(self.discriminator(x), self.discriminator(fake.detach()))
            self.d_optimizer.zero_grad()
            d_loss.backward()
            self.d_optimizer.step()
            g_loss = F.softplus(-self.discriminator(fake)).mean()
            self.g_optimizer.zero_grad()
            g_loss.backward()
            self.g_optimizer.step()
