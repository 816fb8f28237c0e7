"""Everyday models with attention, and plain ones by strings, twice: in Keras and by hand.

Transformers for text, series and images as keras.io builds them, with layers of their own; a
binary classifier compiled with strings and a regression under a schedule. Each twin is PyTorch
written by hand, on torch's fused attention, begins with the Keras model's weights, and is trained
in an ordinary loop with a fused optimizer and the same metrics. `difference` says how far the two
are apart, in outputs, losses and metrics.
"""

import dataclasses
from collections.abc import Callable

import keras
import torch
import torch.nn.functional as F
from keras import layers, ops
from torch import nn


@dataclasses.dataclass(frozen=True)
class Case:
    """One model twice.

    Args:
        name: str.
        keras_model: function that makes the Keras model, compiled.
        twin: class of the network by hand; made from a Keras model, whose weights it copies.
        loss: function `(outputs, targets) -> loss` of the loop by hand.
        counters: classes of what the loop counts, in the order of the Keras model's metrics.
        batch: function that makes `(inputs, targets)`.
        optimizer: function `parameters -> (optimizer, schedule or None)` of the loop.
    """

    name: str
    keras_model: Callable
    twin: type
    loss: Callable
    counters: tuple
    batch: Callable
    optimizer: Callable


class Loop:
    """An ordinary training loop around a network; loss and metrics stay on the device."""

    def __init__(self, case, model):
        self.network, self.loss = case.twin(model), case.loss
        self.optimizer, self.schedule = case.optimizer(self.network.parameters())
        self.counters = [counter() for counter in case.counters]
        self.total = torch.zeros(())

    def train(self, batch, steps):
        x, y = batch
        self.network.train()
        for _ in range(steps):
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            with torch.no_grad():
                self.total += loss.detach() * len(y)
                for counter in self.counters:
                    counter.add(outputs.detach(), y)


class Accuracy:
    def __init__(self):
        self.hits, self.count = torch.zeros(()), 0

    def add(self, outputs, y):
        self.hits += (outputs.argmax(1) == y).sum()
        self.count += len(y)

    def result(self):
        return self.hits / self.count


class BinaryAccuracy(Accuracy):
    def add(self, outputs, y):
        self.hits += ((outputs > 0.5) == y).sum()
        self.count += len(y)


class TopFive(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs.topk(5).indices == y[:, None]).sum()
        self.count += len(y)


class AbsoluteError(Accuracy):
    def add(self, outputs, y):
        self.hits += (outputs - y).abs().sum()
        self.count += len(y)


class AUC:
    """Area under the curve by 200 thresholds, as Keras has it."""

    def __init__(self):
        self.buckets = torch.zeros(2, 200)  # predictions of false and true labels

    def add(self, outputs, y):
        bucket = (torch.ceil(outputs.flatten() * 199) - 1).clamp(0, 198).long()
        place = bucket + 200 * y.flatten().long()
        self.buckets.view(-1).index_add_(0, place, torch.ones_like(outputs.flatten()))

    def result(self):
        fp, tp = self.buckets.flip(1).cumsum(1).flip(1)
        x, y = fp / self.buckets[0].sum(), tp / self.buckets[1].sum()
        return ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()


class Attention(nn.Module):
    """Self-attention of several heads on torch's fused kernel, with a Keras layer's weights."""

    @torch.no_grad()
    def __init__(self, layer):
        super().__init__()
        parts = [layer.query_dense, layer.key_dense, layer.value_dense]
        channels, self.heads, size = parts[0].kernel.shape
        self.rate = layer.dropout
        self.inputs = nn.Linear(channels, 3 * self.heads * size)
        self.outputs = nn.Linear(self.heads * size, channels)
        kernels = [part.kernel.value.flatten(1) for part in parts]
        self.inputs.weight.copy_(torch.cat(kernels, 1).T)
        self.inputs.bias.copy_(torch.cat([part.bias.value.flatten() for part in parts]))
        self.outputs.weight.copy_(layer.output_dense.kernel.value.flatten(0, 1).T)
        self.outputs.bias.copy_(layer.output_dense.bias.value)

    def forward(self, x):
        parts = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        x = F.scaled_dot_product_attention(*parts, dropout_p=rate)
        return self.outputs(x.transpose(1, 2).flatten(2))


@torch.no_grad()
def linear_of(layer):
    """The module of a `Dense`, or of a `Conv1D` that looks at one step."""
    kernel = layer.kernel.value
    kernel = kernel.squeeze(0) if kernel.ndim == 3 else kernel
    module = nn.Linear(*kernel.shape)
    module.weight.copy_(kernel.T)
    module.bias.copy_(layer.bias.value)
    return module


@torch.no_grad()
def norm_of(layer):
    module = nn.LayerNorm(layer.gamma.shape[0], layer.epsilon)
    module.weight.copy_(layer.gamma.value)
    module.bias.copy_(layer.beta.value)
    return module


def embedding_of(layer):
    return nn.Embedding.from_pretrained(layer.embeddings.value.detach().clone(), freeze=False)


# A text classifier: keras.io, "Text classification with Transformer".

WORDS, LENGTH, WIDTH = 20_000, 200, 32


class TransformerBlock(layers.Layer):
    def __init__(self, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, WIDTH)
        self.feed_forward = keras.Sequential([layers.Dense(32, "relu"), layers.Dense(WIDTH)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]

    def call(self, inputs):
        x = self.dropouts[0](self.attention(inputs, inputs))
        x = self.norms[0](inputs + x)
        return self.norms[1](x + self.dropouts[1](self.feed_forward(x)))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(WORDS, WIDTH)
        self.positions = layers.Embedding(LENGTH, WIDTH)

    def call(self, x):
        positions = ops.arange(0, ops.shape(x)[-1], 1)
        return self.tokens(x) + self.positions(positions)


def text_in_keras():
    inputs = keras.Input((LENGTH,))
    x = TransformerBlock()(TokenAndPositionEmbedding()(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, "relu")(x))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Text(nn.Module):
    def __init__(self, model):
        super().__init__()
        _, embedding, block, _, _, hidden, _, head = model.layers
        self.tokens, self.positions = (
            embedding_of(part) for part in (embedding.tokens, embedding.positions)
        )
        self.attention = Attention(block.attention)
        self.feed_forward = nn.ModuleList(map(linear_of, block.feed_forward.layers))
        self.norms = nn.ModuleList(map(norm_of, block.norms))
        self.hidden, self.head = linear_of(hidden), linear_of(head)

    def forward(self, tokens):
        def drop(x):
            return F.dropout(x, 0.1, self.training)

        x = self.tokens(tokens) + self.positions.weight
        x = self.norms[0](x + drop(self.attention(x)))
        first, second = self.feed_forward
        x = self.norms[1](x + drop(second(F.relu(first(x)))))
        return self.head(drop(F.relu(self.hidden(drop(x.mean(1))))))


# A classifier of series: keras.io, "Timeseries classification with a Transformer model".

STEPS, BLOCKS = 100, 4


def series_block(x):
    y = layers.MultiHeadAttention(4, 64, dropout=0.25)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(0.25)(y)) + x
    y = layers.Dropout(0.25)(layers.Conv1D(4, 1, activation="relu")(x))
    return layers.LayerNormalization(epsilon=1e-6)(layers.Conv1D(8, 1)(y)) + x


def series_in_keras():
    inputs = x = keras.Input((STEPS, 8))
    for _ in range(BLOCKS):
        x = series_block(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.4)(layers.Dense(128, "relu")(x))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )  # fmt: skip
    return model


class Series(nn.Module):
    def __init__(self, model):
        super().__init__()

        def all_of(kind, make):
            return nn.ModuleList(make(x) for x in model.layers if type(x) is kind)

        self.attentions = all_of(layers.MultiHeadAttention, Attention)
        self.norms = all_of(layers.LayerNormalization, norm_of)
        self.convolutions = all_of(layers.Conv1D, linear_of)
        self.hidden, self.head = all_of(layers.Dense, linear_of)

    def forward(self, x):
        for number, attention in enumerate(self.attentions):
            (norm, other), (first, second) = (
                parts[2 * number : 2 * number + 2] for parts in (self.norms, self.convolutions)
            )
            x = norm(F.dropout(attention(x), 0.25, self.training)) + x
            x = other(second(F.dropout(F.relu(first(x)), 0.25, self.training))) + x
        x = F.dropout(F.relu(self.hidden(x.mean(1))), 0.4, self.training)
        return self.head(x)


# A vision transformer: keras.io, "Image classification with Vision Transformer".

SIZE, PATCH, CHANNELS, DEPTH = 32, 4, 64, 4


class Patches(layers.Layer):
    def call(self, images):
        patches = ops.image.extract_patches(images, PATCH)
        return ops.reshape(patches, (-1, (SIZE // PATCH) ** 2, PATCH * PATCH * 3))


class PatchEncoder(layers.Layer):
    def __init__(self):
        super().__init__()
        self.projection = layers.Dense(CHANNELS)
        self.positions = layers.Embedding((SIZE // PATCH) ** 2, CHANNELS)

    def call(self, patches):
        positions = ops.expand_dims(ops.arange(0, (SIZE // PATCH) ** 2, 1), 0)
        return self.projection(patches) + self.positions(positions)


def mlp(x, sizes, rate):
    for size in sizes:
        x = layers.Dropout(rate)(layers.Dense(size, activation=keras.activations.gelu)(x))
    return x


def vit_in_keras():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = PatchEncoder()(Patches()(inputs))
    for _ in range(DEPTH):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(4, CHANNELS, dropout=0.1)(y, y), x])
        y = mlp(layers.LayerNormalization(epsilon=1e-6)(x), (2 * CHANNELS, CHANNELS), 0.1)
        x = layers.Add()([y, x])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    x = mlp(layers.Dropout(0.5)(x), (256, 128), 0.5)
    model = keras.Model(inputs, layers.Dense(100)(x))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top-5-accuracy"),
        ],
    )
    return model


class ViT(nn.Module):
    def __init__(self, model):
        super().__init__()

        def all_of(kind, make):
            return nn.ModuleList(make(x) for x in model.layers if type(x) is kind)

        encoder = next(x for x in model.layers if isinstance(x, PatchEncoder))
        self.projection, self.positions = (
            linear_of(encoder.projection),
            embedding_of(encoder.positions),
        )
        self.norms = all_of(layers.LayerNormalization, norm_of)
        self.attentions = all_of(layers.MultiHeadAttention, Attention)
        self.dense = all_of(layers.Dense, linear_of)

    def forward(self, images):
        side = SIZE // PATCH
        x = (
            images.view(-1, side, PATCH, side, PATCH, 3)
            .transpose(2, 3)
            .reshape(-1, side * side, PATCH * PATCH * 3)
        )
        x = self.projection(x) + self.positions.weight

        def hidden(number, x, rate):
            return F.dropout(F.gelu(self.dense[number](x)), rate, self.training)

        for block, attention in enumerate(self.attentions):
            x = attention(self.norms[2 * block](x)) + x
            y = hidden(2 * block, self.norms[2 * block + 1](x), 0.1)
            x = hidden(2 * block + 1, y, 0.1) + x
        x = F.dropout(self.norms[-1](x).flatten(1), 0.5, self.training)
        x = hidden(-2, hidden(-3, x, 0.5), 0.5)
        return self.dense[-1](x)


# Plain networks, compiled as most people do.


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


def adam(rate):
    """Adam as Keras has it, fused, without a schedule."""
    return lambda parameters: (torch.optim.Adam(parameters, rate, eps=1e-7, fused=True), None)


def _adamw(parameters):
    # Keras's decay is of the weights by rate × decay, like torch's, but its AdamW is for all.
    return torch.optim.AdamW(parameters, 1e-3, eps=1e-7, weight_decay=1e-4, fused=True), None


def _adam_and_schedule(parameters):
    optimizer = torch.optim.Adam(parameters, 1e-2, eps=1e-7, fused=True)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9 ** (1 / 1000))


def cases():
    """The `Case`s, in the order of the table."""
    classes = F.cross_entropy

    def labels(high, count):
        return torch.randint(0, high, (count,))

    return [
        Case("transformer text", text_in_keras, Text, classes, (Accuracy,),
             lambda: (torch.randint(0, WORDS, (32, LENGTH)), labels(2, 32)), adam(1e-3)),
        Case("transformer series", series_in_keras, Series, classes, (Accuracy,),
             lambda: (torch.randn(16, STEPS, 8), labels(2, 16)), adam(1e-4)),
        Case("ViT", vit_in_keras, ViT, classes, (Accuracy, TopFive),
             lambda: (torch.rand(16, SIZE, SIZE, 3), labels(100, 16)), _adamw),
        Case("binary classifier, strings and AUC", classifier_in_keras, Classifier,
             F.binary_cross_entropy, (BinaryAccuracy, AUC),
             lambda: (torch.randn(32, 30), labels(2, 32)[:, None].float()), adam(1e-3)),
        Case("regression, mse, schedule, mae", regression_in_keras, Hidden, F.mse_loss,
             (AbsoluteError,), lambda: (torch.randn(32, 13), torch.randn(32, 1)),
             _adam_and_schedule),
    ]  # fmt: skip


def difference(case):
    """How far the two are apart, relatively: outputs, loss and metrics of one batch."""
    keras.utils.set_random_seed(0)
    model, (x, y) = case.keras_model(), case.batch()
    loss, *found = model.evaluate(x, y, batch_size=len(y), verbose=0)
    network = case.twin(model).eval()
    with torch.no_grad():
        theirs, ours = model(x, training=False), network(x)
        gives_logits = (ours.ndim > 1 and ours.shape[1] > 1) and bool((theirs >= 0).all())
        outputs = torch.softmax(ours, 1) if gives_logits else ours
        pairs = [(outputs, theirs), (case.loss(ours, y), torch.tensor(loss))]
        for counter, value in zip(case.counters, found, strict=True):
            counter = counter()
            counter.add(ours, y)
            pairs.append((counter.result(), torch.tensor(value)))
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs)
