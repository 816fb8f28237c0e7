"""Every Keras layer with weights, and some of one's own, in a graph that is trained on ranks."""

import inspect

import keras_dawn
from keras_dawn.distributed import synchronize_batch_normalization
from keras_dawn.foundation import model_state

import keras
import numpy as np
import torch
from keras import layers, ops
from scenarios import in_float64, rank
from trainings import in_policy, numbers

LINE, SERIES, IMAGE, VOLUME, FILM = (5,), (6, 3), (6, 6, 4), (4, 4, 4, 2), (3, 4, 4, 2)


class Own(layers.Layer):
    """Has no rule; with branches, it has weights that only some batches and ranks reach."""

    def __init__(self, branches=False):
        super().__init__()
        self.branches = branches

    def build(self, shape):
        self.kernels = [self.add_weight(shape=(shape[-1], 2), name=f"k{n}")
                        for n in range(1, 4) if self.branches or n != 2]  # fmt: skip

    def call(self, x):
        real = self.branches and isinstance(x, torch.Tensor)
        chosen = int(ops.sum(x) > 0) if real else 0
        return x @ self.kernels[chosen] + x @ self.kernels[-1]


def attended(layer):
    return lambda x: layer(x, x)


def normalization():
    layer = layers.Normalization()
    layer.adapt(3 + 2 * numbers(30, 5, seed=9))
    return layer


def stacked():
    return layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(2)]))


def torch_module():
    net = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4)).double()
    return layers.TorchModuleWrapper(net, output_shape=(None, 4))


CASES = {
    "Dense": (LINE, lambda: layers.Dense(3, "tanh")),
    "EinsumDense": (SERIES, lambda: layers.EinsumDense("abc,cd->abd", (6, 2), bias_axes="d")),
    "Embedding": ((4,), lambda: layers.Embedding(5, 3)),
    "ReversibleEmbedding": ((4,), lambda: layers.ReversibleEmbedding(5, 3)),
    "Conv1D": (SERIES, lambda: layers.Conv1D(2, 3)),
    "Conv2D": (IMAGE, lambda: layers.Conv2D(2, 3, groups=2)),
    "Conv3D": (VOLUME, lambda: layers.Conv3D(2, 3)),
    "Conv1DTranspose": (SERIES, lambda: layers.Conv1DTranspose(2, 3)),
    "Conv2DTranspose": (IMAGE, lambda: layers.Conv2DTranspose(2, 3, strides=2)),
    "Conv3DTranspose": (VOLUME, lambda: layers.Conv3DTranspose(2, 3)),
    "DepthwiseConv1D": (SERIES, lambda: layers.DepthwiseConv1D(3)),
    "DepthwiseConv2D": (IMAGE, lambda: layers.DepthwiseConv2D(3)),
    "SeparableConv1D": (SERIES, lambda: layers.SeparableConv1D(2, 3)),
    "SeparableConv2D": (IMAGE, lambda: layers.SeparableConv2D(2, 3)),
    "BatchNormalization": (IMAGE, layers.BatchNormalization),
    "LayerNormalization": (IMAGE, layers.LayerNormalization),
    "LayerNormalization of more axes": (IMAGE, lambda: layers.LayerNormalization(axis=(2, 3))),
    "GroupNormalization": (IMAGE, lambda: layers.GroupNormalization(2)),
    "RMSNormalization": (IMAGE, layers.RMSNormalization),
    "SpectralNormalization": (
        IMAGE, lambda: layers.SpectralNormalization(layers.Conv2D(2, 3), power_iterations=2)
    ),
    "Normalization": (LINE, normalization),
    "PReLU": (IMAGE, lambda: layers.PReLU(shared_axes=(1, 2))),
    "SimpleRNN": (SERIES, lambda: layers.SimpleRNN(3)),
    "LSTM": (SERIES, lambda: layers.LSTM(3)),
    "GRU": (SERIES, lambda: layers.GRU(3, return_sequences=True)),
    "RNN": (SERIES, lambda: layers.RNN(layers.SimpleRNNCell(3))),
    "StackedRNNCells": (SERIES, stacked),
    "Bidirectional": (SERIES, lambda: layers.Bidirectional(layers.LSTM(2))),
    "TimeDistributed": (SERIES, lambda: layers.TimeDistributed(layers.Dense(2))),
    "ConvLSTM1D": ((3, 4, 2), lambda: layers.ConvLSTM1D(2, 3)),
    "ConvLSTM2D": (FILM, lambda: layers.ConvLSTM2D(2, 3)),
    "ConvLSTM3D": ((2, 3, 3, 3, 1), lambda: layers.ConvLSTM3D(1, 2)),
    "Attention": (SERIES, lambda: lambda x: layers.Attention(use_scale=True)([x, x])),
    "AdditiveAttention": (SERIES, lambda: lambda x: layers.AdditiveAttention()([x, x])),
    "MultiHeadAttention": (SERIES, lambda: attended(layers.MultiHeadAttention(2, 3))),
    "GroupQueryAttention": (SERIES, lambda: attended(layers.GroupQueryAttention(3, 2, 1))),
    "STFTSpectrogram": ((32, 1), lambda: layers.STFTSpectrogram("magnitude", 8, 4, 8)),
    "TorchModuleWrapper": (LINE, torch_module),
    "a layer of one's own": (LINE, Own),
    # What draws at random, or looks at its own part of the batch, is the same on all ranks.
    "a layer with branches*": (LINE, lambda: Own(branches=True)),
    "BatchNormalization of another axis*": (IMAGE, lambda: layers.BatchNormalization(axis=2)),
    "TorchModuleWrapper with batch norm*": (
        LINE, lambda: layers.TorchModuleWrapper(
            torch.nn.BatchNorm1d(5).double(), output_shape=(None, 5))
    ),
    "Dropout*": (LINE, lambda: layers.Dropout(0.5)),
    "RandomZoom*": (IMAGE, lambda: layers.RandomZoom(0.2)),
}  # fmt: skip
SAMPLE = [
    "BatchNormalization", "LSTM", "MultiHeadAttention", "TorchModuleWrapper",
    "a layer of one's own", "a layer with branches*", "BatchNormalization of another axis*",
    "TorchModuleWrapper with batch norm*",
]  # fmt: skip


def trained(name):
    """Weights after a few steps of a model with the layer; the last parts are of 2 and 1."""
    keras.utils.set_random_seed(100 + rank())
    shape, make = CASES[name]
    inputs = keras.Input(shape, dtype="int64" if "Embedding" in name else None)
    x = layers.Flatten()(make()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    supported = "of another axis" not in name
    if supported:
        synchronize_batch_normalization(model)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    count = 12 if name.endswith("*") else 11  # torch has no batch norm of a single image
    data = numbers(count, *shape)
    if "Embedding" in name:
        data = np.random.default_rng(0).integers(0, 5, (count, *shape))
    history = model.fit(
        data, numbers(count, 2, seed=1), batch_size=4, epochs=2, shuffle=False, verbose=0
    )
    buffers = [b.detach().clone() for b in model_state.torch_buffers(model)]
    return {
        "weights": [*[torch.as_tensor(w) for w in model.get_weights()], *buffers],
        "start": start,
        "history": history.history,
    }


def in_true_float64(name):
    return in_float64(lambda: in_policy(lambda: trained(name)))


def sample():
    return {name: in_true_float64(name) for name in SAMPLE}


def all_layers():
    """Results by name; of a layer that is refused, its words."""
    found = {}
    for name in CASES:
        try:
            found[name] = in_true_float64(name)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def with_weights():
    """Names of Keras's layers that make weights of their own, without aliases."""
    kinds = {kind for kind in vars(layers).values() if isinstance(kind, type)}
    return {
        kind.__name__
        for kind in kinds
        if issubclass(kind, layers.Layer)
        and any(
            "self.add_weight(" in inspect.getsource(base)
            for base in kind.__mro__
            if issubclass(base, layers.Layer) and base is not layers.Layer
        )
    }
