"""The models of `own_python.py` twice: in Keras, with Python of their own, and as torch loops."""

import itertools

import keras
import torch
import torch.nn.functional as F
from keras import layers, ops
from torch import nn

LATENT = 8


class Block(layers.Layer):
    def __init__(self, width, strides=1):
        super().__init__()
        self.first = layers.Conv2D(width, 3, strides, "same", use_bias=False)
        self.second = layers.Conv2D(width, 3, padding="same", use_bias=False)
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.relu = layers.ReLU()
        self.shortcut = None
        if strides > 1:
            self.shortcut = layers.Conv2D(width, 1, strides, use_bias=False)

    def call(self, x, training=None):
        y = self.relu(self.norms[0](self.first(x), training=training))
        y = self.norms[1](self.second(y), training=training)
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.stem = layers.Conv2D(width, 3, padding="same", use_bias=False)
        self.norm, self.relu = layers.BatchNormalization(), layers.ReLU()
        self.blocks = [
            Block(width * 2**group, 2 if group and not block else 1)
            for group in range(4)
            for block in range(2)
        ]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(10)

    def call(self, x, training=None):
        x = self.relu(self.norm(self.stem(x), training=training))
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def resnet_in_keras(width):
    model = ResNet(width)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


class TorchBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(channels, width, 3, stride, int(stride == 1), bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        # Keras's "same" at stride 2 pads below and on the right only.
        padded = x if self.stride == 1 else F.pad(x, (0, 1, 0, 1))
        y = self.norm2(self.second(F.relu(self.norm1(self.first(padded)), inplace=True)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNetLoop:
    """The same network and step in PyTorch, loss and accuracy on the device."""

    def __init__(self, width):
        blocks, channels = [], width
        for group in range(4):
            for block in range(2):
                wide, stride = width * 2**group, 2 if group and not block else 1
                blocks.append(TorchBlock(channels, wide, stride))
                channels = wide
        self.network = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=0.01, momentum=0.9, fused=True
        )
        self.loss, self.hits = torch.zeros(()), torch.zeros(())

    def train(self, batch, steps):
        x, y = batch
        for _ in range(steps):
            outputs = self.network(x.permute(0, 3, 1, 2))
            loss = F.cross_entropy(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.loss += loss.detach() * len(y)
                self.hits += (outputs.argmax(1) == y).sum()


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
