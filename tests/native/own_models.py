"""Models that keep their Python: subclassed ones, and with a `train_step` of their own."""

import keras
from keras import layers, ops

from tests.on_device import torch


def descend(model, loss):
    """The end of an own `train_step`: one step of the model's optimizer, as in Keras's guide."""
    model.zero_grad()
    loss.backward()
    weights = model.trainable_weights
    with torch.no_grad():
        model.optimizer.apply([weight.value.grad for weight in weights], weights)


class Block(layers.Layer):
    """A residual block; `call` passes the mode on only by Keras's call context."""

    def __init__(self, filters, strides=1):
        super().__init__()
        self.convolutions = [
            layers.Conv2D(filters, 3, strides, "same", use_bias=False),
            layers.Conv2D(filters, 3, 1, "same", use_bias=False),
        ]
        self.norms = [layers.BatchNormalization(momentum=0.8) for _ in range(2)]
        self.shortcut = layers.Conv2D(filters, 1, strides) if strides > 1 else None

    def call(self, x):
        y = ops.relu(self.norms[0](self.convolutions[0](x)))
        y = self.norms[1](self.convolutions[1](y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(keras.Model):
    """A subclassed residual network with a weight and a branch of its own."""

    def __init__(self, width=4, classes=5):
        super().__init__()
        self.stem = keras.Sequential(
            [layers.Conv2D(width, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
        )
        self.blocks = [Block(width), Block(2 * width, 2), Block(2 * width)]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(classes)
        self.temperature = self.add_weight(shape=(), initializer="ones", name="temperature")

    def call(self, x, training=False):
        x = self.stem(x, training=training)
        for block in self.blocks:
            x = block(x)
        x = self.pool(x)
        if training:
            x = 1.1 * x
        return self.head(x) * self.temperature


class VAE(keras.Model):
    """A variational autoencoder as on keras.io; its noise is drawn from a fixed sequence."""

    def __init__(self, size=8, latent=2):
        super().__init__()
        inputs = keras.Input((size,))
        hidden = layers.Dense(16, "relu")(inputs)
        self.encoder = keras.Model(
            inputs, [layers.Dense(latent)(hidden), layers.Dense(latent)(hidden)]
        )
        self.decoder = keras.Sequential(
            [keras.Input((latent,)), layers.Dense(16, "relu"), layers.Dense(size)]
        )
        self.total = keras.metrics.Mean(name="total")
        self.steps = 0

    @property
    def metrics(self):
        return [self.total]

    def call(self, x):
        mean, _ = self.encoder(x)
        return self.decoder(mean)

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.steps += 1
        mean, log_variance = self.encoder(x, training=True)
        noise = torch.sin(torch.arange(mean.numel(), dtype=mean.dtype) + self.steps)
        z = mean + ops.exp(0.5 * log_variance) * noise.view(mean.shape)
        reconstruction = ops.mean(ops.sum(ops.square(x - self.decoder(z, training=True)), axis=1))
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        loss = reconstruction + ops.mean(ops.sum(divergence, axis=1))
        descend(self, loss)
        self.total.update_state(loss)
        return {"total": self.total.result()}


class GAN(keras.Model):
    """Two networks trained in turn, each by its own optimizer."""

    def __init__(self, size=6, latent=3):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((latent,)), layers.Dense(8), layers.BatchNormalization(), layers.ReLU(),
             layers.Dense(size)]
        )  # fmt: skip
        self.discriminator = keras.Sequential(
            [keras.Input((size,)), layers.Dense(8), layers.LeakyReLU(), layers.Dense(1)]
        )
        self.latent, self.steps = latent, 0
        self.built = True

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)

    def _apply(self, optimizer, network, loss):
        self.zero_grad()
        loss.backward()
        weights = network.trainable_weights
        with torch.no_grad():
            optimizer.apply([w.value.grad for w in weights], weights)

    def train_step(self, real):
        if isinstance(real, tuple):
            real = real[0]
        self.steps += 1
        count = real.shape[0]
        noise = torch.sin(torch.arange(count * self.latent, dtype=real.dtype) + self.steps)
        noise = noise.view(count, self.latent)
        fake = self.generator(noise, training=True).detach()
        both = ops.concatenate([real, fake])
        labels = torch.cat([torch.ones(count, 1), torch.zeros(count, 1)]).to(real.dtype)
        d_loss = self.loss_of(labels, self.discriminator(both, training=True))
        self._apply(self.d_optimizer, self.discriminator, d_loss)
        fooled = self.discriminator(self.generator(noise, training=True), training=True)
        g_loss = self.loss_of(torch.ones(count, 1).to(real.dtype), fooled)
        self._apply(self.g_optimizer, self.generator, g_loss)
        return {"d_loss": d_loss, "g_loss": g_loss}
