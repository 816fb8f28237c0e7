"""Scenarios of models with Python of their own: a `call`, a `train_step`, several optimizers.

All in float64, with parts of unequal size: 21 images in batches of 8 are 4 + 4 and at last 3 + 2,
13 evaluated in batches of 4 are 2 + 2 and at last 1 + 0.
"""

import keras_dawn
from keras_dawn.distributed import synchronize_batch_normalization

import keras
import numpy as np
import torch
from keras import layers, ops
from scenarios import in_float64, rank

OWN = {}
EPOCHS = 2


def scenario(function):
    OWN[function.__name__] = lambda: in_float64(lambda: in_policy(function))
    return function


def in_policy(function):
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(100 + rank())  # each rank with weights of its own
    try:
        return function()
    finally:
        keras.config.set_dtype_policy("float32")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def trained(model, x, y=None, few=13):
    """What a training, an evaluation and a prediction leave behind."""
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    history = model.fit(x, y, batch_size=8, epochs=EPOCHS, shuffle=False, verbose=0)

    def first(data):
        return keras.tree.map_structure(lambda array: array[:few], data)

    result = {
        "start": start,
        "weights": [torch.as_tensor(w) for w in model.get_weights()],
        "history": history.history,
        "optimizers": [
            v.value.detach().double() for v in keras_dawn.model_state.optimizer_variables(model)
        ],
    }
    if type(model).call is not keras.Model.call:
        predicted = model.predict(first(x), batch_size=4, verbose=0)
        result["predicted"] = [torch.as_tensor(p) for p in keras.tree.flatten(predicted)]
        validated = (first(x), first(y)) if y is not None else (first(x),)
        result["evaluated"] = model.evaluate(*validated, batch_size=4, verbose=0, return_dict=True)
    return result


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


@scenario
def subclassed_resnet():
    model = SmallResNet()
    model(numbers(1, 6, 6, 2))
    synchronize_batch_normalization(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return trained(model, numbers(21, 6, 6, 2), np.arange(21) % 3)


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


def gan(**compiled):
    model = Gan()
    rate = 0.01 + 0.01 * rank()  # of rank 0 everywhere, once the training has begun
    optimizers = [keras.optimizers.Adam(rate), keras.optimizers.SGD(rate, momentum=0.5)]
    model.compile(*optimizers, **compiled)
    return trained(model, (numbers(21, 3), numbers(21, 2, seed=1)))


@scenario
def gan_with_two_optimizers():
    return gan()


@scenario
def gan_without_an_optimizer_of_the_models():
    return gan(optimizer=None)


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


@scenario
def vae_with_means():
    model = Vae()
    model(numbers(1, 5))
    model.compile(keras.optimizers.Adam(0.01))
    return trained(model, numbers(21, 5))


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


@scenario
def branches_that_ranks_take_differently():
    model = Branches()
    model.build((None, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x = numbers(21, 3)
    x[:, 0] = np.abs(x[:, 0]) * np.where(np.arange(21) % 2, -1, 1)
    return trained(model, x, numbers(21, 1))


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


@scenario
def gradients_of_two_passes():
    model = TwoPasses([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    result = trained(model, numbers(21, 3), numbers(21, 1))
    del result["history"]["loss"]  # nobody feeds it
    return result


class OwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.abs(y - y_pred) ** 3) + 0.1 * ops.mean(ops.square(y_pred))


@scenario
def own_compute_loss():
    inputs = keras.Input((3,))
    model = OwnLoss(inputs, layers.Dense(1)(layers.Dense(4, "tanh")(inputs)))
    model.compile(keras.optimizers.SGD(0.05), metrics=["mae"])
    return trained(model, numbers(21, 3), numbers(21, 1))


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


@scenario
def added_loss_in_a_subclass():
    model = Subclassed()
    model(numbers(1, 3))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(24, 3), numbers(24, 1))


@scenario
def added_loss_in_a_graph():
    inputs = keras.Input((3,))
    x = Penalty()(layers.Dense(4, "tanh")(inputs))
    model = keras.Model(inputs, layers.Dense(1, kernel_regularizer="l2")(x))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return trained(model, numbers(24, 3), numbers(24, 1))


class WithoutBackward(keras.Sequential):
    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss = ops.mean(ops.square(self(x) - y))
        weights = self.trainable_variables
        gradients = torch.autograd.grad(loss, [w.value for w in weights])
        with torch.no_grad():
            self.optimizer.apply(gradients, weights)
        return {"loss": loss}


@scenario
def gradients_that_no_backward_computes():
    model = WithoutBackward([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    try:
        trained(model, numbers(21, 3), numbers(21, 1))
    except ValueError as error:
        return {"message": str(error)}
    return {"message": None}
