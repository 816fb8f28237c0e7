"""Everyday recurrent models twice: in Keras, and as PyTorch written by hand that computes the same.

Each twin is `torch.nn`'s LSTM, GRU or RNN, begins with the Keras model's weights, and is trained in
an ordinary loop with a fused optimizer.
"""

import keras
import torch
import torch.nn.functional as F
from everyday_twins import SMALL, Case, adam, embedding_of, linear_of
from everyday_variants import TIME
from keras import layers
from torch import nn


@torch.no_grad()
def copy_cell(module, cell, suffix="_l0"):
    """Gives one layer and direction of an `nn.LSTM`, `nn.GRU` or `nn.RNN` a cell's weights."""
    variables = cell.kernel, cell.recurrent_kernel, cell.bias
    kernel, recurrent, bias = (variable.value.detach() for variable in variables)
    biases = [bias, torch.zeros_like(bias)]
    if isinstance(module, nn.GRU):  # torch's order of gates is reset, update, candidate
        kernel, recurrent, *biases = [_reset_first(w) for w in (kernel, recurrent, *bias)]
    for name, weight in (("ih", kernel), ("hh", recurrent)):
        getattr(module, f"weight_{name}{suffix}").copy_(weight.T)
    for name, weight in zip(("ih", "hh"), biases, strict=True):
        getattr(module, f"bias_{name}{suffix}").copy_(weight)
    if not isinstance(module, nn.GRU):  # Keras has one bias: a second would learn it twice as fast
        getattr(module, f"bias_hh{suffix}").requires_grad_(False)


def _reset_first(weight):
    update, reset, candidate = weight.chunk(3, -1)
    return torch.cat((reset, update, candidate), -1)


def recurrence_of(layer, time_first=False):
    """The module of a Keras LSTM, GRU or SimpleRNN with one direction."""
    kind = {layers.LSTM: nn.LSTM, layers.GRU: nn.GRU, layers.SimpleRNN: nn.RNN}[type(layer)]
    module = kind(layer.cell.kernel.shape[0], layer.units, batch_first=not time_first)
    copy_cell(module, layer.cell)
    return module


WORDS, LENGTH = 5000, 100  # vocabulary, words in a text


def text_in_keras(*recurrent, classes=1, words=WORDS, width=64, mask_zero=False):
    model = keras.Sequential(
        [keras.Input((None,), dtype="int32"),
         layers.Embedding(words, width, mask_zero=mask_zero), *recurrent, layers.Dense(classes)]
    )  # fmt: skip
    if classes == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


class Text(nn.Module):
    """Embedding, recurrent layer, classifier of the last state.

    With `time_first` words are looked up in the order in which the recurrence wants them.
    """

    variants = TIME

    def __init__(self, model, time_first):
        super().__init__()
        self.time_first = time_first
        embedding, recurrence, head = model.layers
        self.embedding = embedding_of(embedding)
        self.recurrence = recurrence_of(recurrence, time_first)
        self.head = linear_of(head)

    def forward(self, words):
        _, state = self.recurrence(self.embedding(words.T if self.time_first else words))
        state = state[0] if isinstance(state, tuple) else state
        return self.head(state[-1])


class PaddedText(Text):
    """Texts with zeros at the end: the output of the last word counts.

    Quicker than `pack_padded_sequence`, which leaves oneDNN's kernel.
    """

    def forward(self, words):
        outputs, _ = self.recurrence(self.embedding(words.T if self.time_first else words))
        places = torch.arange(len(words), device=words.device), (words != 0).sum(1) - 1
        return self.head(outputs[places[:: -1 if self.time_first else 1]])


class TextInBothDirections(nn.Module):
    variants = TIME

    def __init__(self, model, time_first):
        super().__init__()
        self.time_first = time_first
        embedding, *both, head = model.layers
        self.embedding, self.head = embedding_of(embedding), linear_of(head)
        units = both[0].forward_layer.units
        width = self.embedding.embedding_dim
        self.recurrence = nn.LSTM(width, units, 2, batch_first=not time_first, bidirectional=True)
        for number, layer in enumerate(both):
            copy_cell(self.recurrence, layer.forward_layer.cell, f"_l{number}")
            copy_cell(self.recurrence, layer.backward_layer.cell, f"_l{number}_reverse")

    def forward(self, words):
        _, (state, _) = self.recurrence(self.embedding(words.T if self.time_first else words))
        return self.head(torch.cat((state[-2], state[-1]), 1))


def series_in_keras(recurrent):
    model = keras.Sequential([keras.Input((120, 7)), recurrent, layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.MeanSquaredError())
    return model


class Series(nn.Module):
    def __init__(self, model):
        super().__init__()
        recurrence, head = model.layers
        self.recurrence, self.head = recurrence_of(recurrence), linear_of(head)

    def forward(self, x):
        return self.head(self.recurrence(x)[1][-1])


LETTERS = 70  # each a vector of one 1, as in keras.io's translation letter by letter


def translator_in_keras(units=128):
    given, before = keras.Input((None, LETTERS)), keras.Input((None, LETTERS))
    _, h, c = layers.LSTM(units, return_state=True, name="encoder")(given)
    decoder = layers.LSTM(units, return_sequences=True, return_state=True, name="decoder")
    x, _, _ = decoder(before, initial_state=[h, c])
    model = keras.Model([given, before], layers.Dense(LETTERS, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


class Translator(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.encoder = recurrence_of(model.get_layer("encoder"))
        self.decoder = recurrence_of(model.get_layer("decoder"))
        self.head = linear_of(model.get_layer("head"))

    def forward(self, given, before):
        _, state = self.encoder(given)
        return self.head(self.decoder(before, state)[0])


def _texts(count, classes=1, words=WORDS, length=LENGTH, padded=False):
    texts = torch.randint(1, words, (count, length), dtype=torch.int32)
    if padded:
        lengths = torch.randint(length // 4, length + 1, (count, 1))
        texts = texts * (torch.arange(length) < lengths)
    if classes == 1:
        return texts, torch.randint(0, 2, (count, 1)).float()
    return texts, torch.randint(0, classes, (count,))


def _letters(count):
    given, before = (
        F.one_hot(torch.randint(0, LETTERS, (count, length)), LETTERS).float()
        for length in (16, 40)
    )
    return (given, before), torch.randint(0, LETTERS, (count, 40))


def _of_letters(outputs, targets):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _series(count):
    return torch.randn(count, 120, 7), torch.randn(count, 1)


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    binary, mse, classes = F.binary_cross_entropy_with_logits, F.mse_loss, F.cross_entropy
    count, units = 32 * scale.samples, 64 * scale.width

    def case(name, model, twin, loss, batch):
        return Case(name, model, twin, loss, {}, batch, adam(1e-3))

    def text(**arguments):
        return text_in_keras(layers.LSTM(units), width=units, **arguments)

    def both():
        twice = [
            layers.Bidirectional(layers.LSTM(units, return_sequences=more))
            for more in (True, False)
        ]
        return text_in_keras(*twice, width=units)

    return [
        case("LSTM text", text, Text, binary, lambda: _texts(count)),
        case("LSTM text, mask_zero", lambda: text(mask_zero=True), PaddedText, binary,
             lambda: _texts(count, padded=True)),
        case("two Bidirectional LSTM", both, TextInBothDirections, binary, lambda: _texts(count)),
        case("GRU series", lambda: series_in_keras(layers.GRU(units // 2)), Series, mse,
             lambda: _series(count)),
        case("SimpleRNN series", lambda: series_in_keras(layers.SimpleRNN(units // 2)), Series,
             mse, lambda: _series(count)),
        case("LSTM encoder and decoder", lambda: translator_in_keras(2 * units), Translator,
             _of_letters, lambda: _letters(count)),
        # keras-team/keras 20902: ten times slower on torch than on other backends
        case("small LSTM classifier", lambda: text_in_keras(
            layers.LSTM(2 * units), classes=10, words=1000, width=2 * units), Text, classes,
            lambda: _texts(count, 10, 1000, 80)),
    ]  # fmt: skip
