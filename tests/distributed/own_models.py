"""Models with Python of their own: a `call`, a loss, a `train_step`, several optimizers."""

import keras
import torch
from keras import layers, ops


class SmallResNet(keras.Model):
    def __init__(self):
        super().__init__()
        self.stem = layers.Conv2D(4, 3, padding="same")
        self.blocks = [
            [layers.BatchNormalization(), layers.Conv2D(4, 3, padding="same")] for _ in range(2)
        ]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(3)

    def call(self, x):
        x = self.stem(x)
        for normalize, convolve in self.blocks:
            x = x + convolve(ops.relu(normalize(x)))
        return self.head(self.pool(x))


class Gan(keras.Model):
    """Two models, two optimizers; the discriminator is frozen while the generator learns."""

    def __init__(self, several_means=True):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(4, "tanh")])
        self.generator.add(layers.Dense(3))
        self.discriminator = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh")])
        self.discriminator.add(layers.Dense(1))
        self.means = [keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")]
        self.built = True

    def compile(self, d_optimizer, g_optimizer, **arguments):
        super().compile(**arguments)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    @property
    def metrics(self):
        return self.means

    def _descend(self, loss, part, optimizer):
        self.zero_grad()
        loss.backward()
        with torch.no_grad():
            weights = part.trainable_variables
            optimizer.apply([w.value.grad for w in weights], weights)

    def train_step(self, data):
        (real, noise), *_ = data
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        ones = torch.ones((len(real), 1), dtype=real.dtype)
        fake = self.generator(noise).detach()
        d_loss = entropy(self.discriminator(real), ones)
        d_loss = d_loss + entropy(self.discriminator(fake), 0 * ones)
        self._descend(d_loss, self.discriminator, self.d_optimizer)
        self.discriminator.trainable = False
        g_loss = entropy(self.discriminator(self.generator(noise)), ones)
        self._descend(g_loss, self.generator, self.g_optimizer)
        self.discriminator.trainable = True
        for mean, loss in zip(self.means, (d_loss, g_loss), strict=True):
            mean.update_state(loss)
        return {mean.name: mean.result() for mean in self.means}


class Vae(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = keras.Sequential([keras.Input((5,)), layers.Dense(4)])
        self.decoder = keras.Sequential([keras.Input((2,)), layers.Dense(5)])
        self.loss_mean, self.kl_mean = keras.metrics.Mean("loss"), keras.metrics.Mean("kl")
        self.each = keras.metrics.Mean("each")

    @property
    def metrics(self):
        return [self.loss_mean, self.kl_mean, self.each]

    def call(self, x):
        mean, deviation = ops.split(self.encoder(x), 2, axis=-1)
        noise = ops.sin(1000 * x[:, :2])  # by the image, so that ranks draw what one process does
        return self.decoder(mean + noise * ops.exp(deviation)), mean, deviation

    def _vae_losses(self, x):
        again, mean, deviation = self(x)
        kl = ops.sum(ops.square(mean) + ops.exp(2 * deviation) - 2 * deviation - 1, axis=-1) / 2
        each = ops.sum(ops.square(x - again), axis=-1)
        loss = ops.mean(each) + ops.mean(kl)
        self.loss_mean.update_state(loss)
        self.kl_mean.update_state(ops.mean(kl))
        self.each.update_state(each)  # a value for each image is right as it is
        return loss

    def train_step(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        loss = self._vae_losses(x)
        loss.backward()
        with torch.no_grad():
            weights = self.trainable_variables
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data):
        self._vae_losses(keras.utils.unpack_x_y_sample_weight(data)[0])
        return {metric.name: metric.result() for metric in self.metrics}


class Tagger(keras.Model):
    """A class for each word; one loss is compiled, with masks, the other ignores a class."""

    extra = None

    def _both(self, data, training):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        tags = self(x, training=training)
        loss = self.compute_loss(x, y, tags, weight, training=training)
        loss = loss + self.extra[0](ops.where(x == 1, -1, y), tags + 0.0)
        self._loss_tracker.update_state(loss)
        return loss, self.compute_metrics(x, y, tags, weight)

    def train_step(self, data):
        self.zero_grad()
        loss, logs = self._both(data, True)
        loss.backward()
        with torch.no_grad():
            weights = self.trainable_variables
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return logs

    def test_step(self, data):
        return self._both(data, False)[1]


class TaggerByLoss(keras.Model):
    """Its compiled loss is halved, so Python of its own calls it."""

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs) / 2


class Branches(keras.Model):
    """Images take one of two ways by their first number; a rank may have images of one kind."""

    def __init__(self):
        super().__init__()
        self.ways, self.unused = [layers.Dense(1), layers.Dense(1)], layers.Dense(1)

    def build(self, shape):
        for layer in (*self.ways, self.unused):
            layer.build(shape)
        self.built = True

    def call(self, x):
        return self.ways[0](x)

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss = 0.0
        self.zero_grad()
        for way, chosen in zip(self.ways, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if chosen.any():
                loss = loss + ops.sum(ops.square(way(x[chosen]) - y[chosen])) / len(x)
        loss.backward()
        with torch.no_grad():
            reached = [w for w in self.trainable_variables if w.value.grad is not None]
            self.optimizer.apply([w.value.grad for w in reached], reached)
        return {"last": loss}  # of no metric


class TwoPasses(keras.Sequential):
    """Gradients of two backward passes add up; a third of the weights is reached by the first."""

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        hidden, head = self.layers
        ops.mean(ops.square(hidden(x))).backward()
        outputs = head(hidden(x))
        loss = self.compute_loss(x, y, outputs)
        loss.backward()
        with torch.no_grad():
            weights = self.trainable_variables
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return self.compute_metrics(x, y, outputs)


class TwoHeads(keras.Model):
    """A graph with a loss of its own, which looks at one output for some images only."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = 0.0
        for head, chosen in zip(y_pred, (x[:, 0] > 0, x[:, 0] <= 0), strict=True):
            if chosen.any():
                loss = loss + ops.sum(ops.square(head[chosen] - y[0][chosen])) / len(x)
        return loss


class OwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.abs(y - y_pred) ** 3) + 0.1 * ops.mean(ops.square(y_pred))


class Penalty(layers.Layer):
    """Has no rule, weights of its own that each batch reaches or not, and a loss."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, x, training=None):
        if training:
            # Averaged over the ranks: that of one process where parts are equal, so 24 images.
            self.seen.assign(0.9 * self.seen + 0.1 * ops.mean(x))
        if isinstance(x, torch.Tensor):
            self.add_loss(0.1 * ops.mean(ops.square(x * self.scale)))
        return x + 1.0


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inside = [layers.Dense(4, "tanh"), Penalty(), layers.Dense(1)]

    def call(self, x, training=None):  # without it Keras does not tell the mode
        for layer in self.inside:
            x = layer(x)
        return x


class PassesByBatch(keras.Sequential):
    """Makes a second backward pass for batches that begin with a larger number."""

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        for _ in range(2 if x[0, 0] > 0.115 else 1):
            ops.mean(ops.square(self(x) - y)).backward()
        with torch.no_grad():
            weights = self.trainable_variables
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return {}


class WithoutBackward(keras.Sequential):
    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss = ops.mean(ops.square(self(x) - y))
        weights = self.trainable_variables
        gradients = torch.autograd.grad(loss, [w.value for w in weights])
        with torch.no_grad():
            self.optimizer.apply(gradients, weights)
        return {"loss": loss}


class OwnStepNormalized(keras.Sequential):
    """A backward pass of a loss that nobody weighs, through statistics of all ranks."""

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        loss = self.compute_loss(x, y, self(x, training=True))
        loss.backward()
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in self.trainable_weights])
        return {"last": loss}
