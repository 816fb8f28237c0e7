"""Models with Python of their own twice: in Keras as keras.io builds them, and by hand.

Two variational autoencoders, one with a `train_step`, one with `add_loss`, and a subclassed
recommender.
"""

import keras
import torch
import torch.nn.functional as F
from everyday_twins import SMALL, Case, adam, all_of, embedding_of, linear_of
from everyday_variants import PENALTY, Regularized
from keras import layers, ops
from torch import nn

PIXELS, LATENT = 256, 8


class Sampling(layers.Layer):
    """A point drawn around the mean in training, the mean itself elsewhere."""

    def __init__(self):
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs, training=None):
        mean, log_variance = inputs
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


def _encoder(width):
    inputs = keras.Input((PIXELS,))
    x = layers.Dense(width, "relu")(layers.Dense(width, "relu")(inputs))
    mean, log_variance = layers.Dense(LATENT)(x), layers.Dense(LATENT)(x)
    z = Sampling()([mean, log_variance])
    return keras.Model(inputs, [mean, log_variance, z])


def _decoder(width):
    return keras.Sequential(
        [keras.Input((LATENT,)), layers.Dense(width, "relu"), layers.Dense(width, "relu"),
         layers.Dense(PIXELS, "sigmoid")]
    )  # fmt: skip


def _divergence(mean, log_variance):
    each = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
    return ops.mean(ops.sum(each, axis=1))


class VAE(keras.Model):
    """keras.io, "Variational AutoEncoder"."""

    def __init__(self, width):
        super().__init__()
        self.encoder, self.decoder = _encoder(width), _decoder(width)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "kl_loss")]
        self.built = True

    @property
    def metrics(self):
        return self.trackers

    def call(self, x, training=None):
        return self.decoder(self.encoder(x, training=training)[2], training=training)

    def _terms(self, x, training):
        mean, log_variance, z = self.encoder(x, training=training)
        each = keras.losses.binary_crossentropy(x, self.decoder(z, training=training))
        divergence = _divergence(mean, log_variance)
        return PIXELS * ops.mean(each) + divergence, divergence

    def _logs(self, *losses):
        for tracker, loss in zip(self.trackers, losses, strict=True):
            tracker.update_state(loss)
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def train_step(self, data):
        x, _ = data
        losses = self._terms(x, training=True)
        self.zero_grad()
        losses[0].backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return self._logs(*losses)

    def test_step(self, data):
        return self._logs(*self._terms(data[0], training=False))


def vae_in_keras(width):
    model = VAE(width)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


class VAEWithAddedLoss(keras.Model):
    """The same by `add_loss` in `call`, with a loss for the rest."""

    def __init__(self, width):
        super().__init__()
        self.encoder, self.decoder = _encoder(width), _decoder(width)
        self.built = True

    def call(self, x, training=None):
        mean, log_variance, z = self.encoder(x, training=training)
        self.add_loss(_divergence(mean, log_variance) / PIXELS)
        return self.decoder(z, training=training)


def added_loss_in_keras(width):
    model = VAEWithAddedLoss(width)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return model


class Twin(nn.Module):
    """Reconstruction and divergence; mean and logarithm of the variance are one product."""

    def __init__(self, model):
        super().__init__()
        self.first, self.second, *heads = all_of(model.encoder, layers.Dense, linear_of)
        self.third, self.fourth, self.head = all_of(model.decoder, layers.Dense, linear_of)
        self.both = _beside(*heads)

    def forward(self, x):
        x = F.relu_(self.second(F.relu_(self.first(x))))
        z, log_variance = self.both(x).float().chunk(2, 1)
        divergence = None
        if not torch.is_inference_mode_enabled():  # `predict` has no use for it
            variance = log_variance.exp()
            each = z.square() + variance - log_variance
            divergence = 0.5 * (each.sum() / len(x) - LATENT)
        if self.training:
            z = torch.addcmul(z, variance.sqrt(), torch.randn_like(z))
        z = z.to(x.dtype)
        return self.head(F.relu_(self.fourth(F.relu_(self.third(z))))), divergence


@torch.no_grad()
def _beside(one, other):
    """Two linear modules of the same inputs as one."""
    both = nn.Linear(one.in_features, one.out_features + other.out_features)
    both.weight.copy_(torch.cat((one.weight, other.weight)))
    both.bias.copy_(torch.cat((one.bias, other.bias)))
    return both


def _vae_loss(outputs, x):
    logits, divergence = outputs
    return PIXELS * F.binary_cross_entropy_with_logits(logits, x) + divergence


class Divergence:
    """The mean of the divergences of the batches."""

    def __init__(self):
        self.total, self.count = 0, 0

    def add(self, outputs, x):
        self.total = self.total + outputs[1]
        self.count += 1

    def result(self):
        return self.total / self.count


class Recommender(keras.Model):
    """keras.io, "Collaborative Filtering for Movie Recommendations"."""

    def __init__(self, width, users=600, films=9000):
        super().__init__()
        l2 = keras.regularizers.l2(1e-6)
        sizes = (users, width), (users, 1), (films, width), (films, 1)
        self.embeddings = [
            layers.Embedding(
                *size, embeddings_initializer="he_normal",
                embeddings_regularizer=l2 if size[1] > 1 else None,
            )
            for size in sizes
        ]  # fmt: skip

    def call(self, inputs):
        users, films = inputs[:, 0], inputs[:, 1]
        user, user_bias = (embedding(users) for embedding in self.embeddings[:2])
        film, film_bias = (embedding(films) for embedding in self.embeddings[2:])
        product = ops.sum(user * film, axis=1, keepdims=True)
        return ops.sigmoid(product + user_bias + film_bias)


def recommender_in_keras(width):
    model = Recommender(width)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy())
    model(torch.zeros(1, 2, dtype=torch.long))
    return model


class RecommenderTwin(Regularized, nn.Module):
    variants = PENALTY

    def __init__(self, model, decay):
        super().__init__()
        self.decay = decay
        self.embeddings = nn.ModuleList(map(embedding_of, model.embeddings))

    def forward(self, inputs):
        users, films = inputs.unbind(1)
        user, user_bias, film, film_bias = (
            module(x)
            for module, x in zip(self.embeddings, (users, users, films, films), strict=True)
        )
        return (user * film).sum(1, keepdim=True) + user_bias + film_bias

    def regularized(self):
        return 1e-6, [self.embeddings[place].weight for place in (0, 2)]


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count, width = 32 * scale.samples, 64 * scale.width**2

    def images():
        x = torch.rand(count, PIXELS).round()
        return x, x

    def ratings():
        pairs = torch.stack([torch.randint(0, n, (2 * count,)) for n in (600, 9000)], 1)
        return pairs, torch.rand(2 * count, 1)

    common = {"prediction": lambda outputs: torch.sigmoid(outputs[0]), "by_chance": True,
              "own_python": True}  # fmt: skip
    return [
        Case("VAE, own train_step", lambda: vae_in_keras(width), Twin, _vae_loss,
             {"kl_loss": Divergence}, images, adam(1e-3), **common),
        Case("VAE, add_loss", lambda: added_loss_in_keras(width), Twin,
             lambda outputs, x: _vae_loss(outputs, x) / PIXELS, {}, images, adam(1e-3), **common),
        Case("recommender, subclassed", lambda: recommender_in_keras(50), RecommenderTwin,
             F.binary_cross_entropy_with_logits, {}, ratings, adam(1e-3),
             prediction=torch.sigmoid, own_python=True),
    ]  # fmt: skip
