"""Layers with settings of all kinds, by the shape that they are called on."""

from tests.native.fuzzing import image_layers as image
from tests.native.fuzzing.draw import Source, call
from tests.native.fuzzing.settings import activation, common, extras, kernel


def batch_norm(d, shape):
    axis = d.pick(1, -1) if d.chance(0.15) else None
    return call(
        "layers.BatchNormalization",
        axis=axis,
        momentum=d.maybe(0.7, 0.9, 0.5, 0.0, 0.99),
        epsilon=d.maybe(0.5, 1e-5, 0.1, 1e-2),
        scale=d.maybe(0.2, False),
        center=d.maybe(0.2, False),
        renorm=d.maybe(0.02, True),
        **common(d),
    )


def layer_norm(d, shape):
    axis = d.maybe(0.3, -1, 1, [-2, -1]) if len(shape) > 2 else None
    settings = {"scale": d.maybe(0.2, False), "center": d.maybe(0.2, False)}
    epsilon = d.maybe(0.5, 1e-6, 0.1)
    return call("layers.LayerNormalization", axis=axis, epsilon=epsilon, **settings, **common(d))


def group_norm(d, shape):
    groups = d.pick(*[n for n in (1, 2, 3, -1) if n == -1 or shape[-1] % n == 0])
    return call("layers.GroupNormalization", groups, epsilon=d.maybe(0.5, 1e-5, 0.1), **common(d))


def other_norm(d, shape):
    return call(d.pick("layers.UnitNormalization", "layers.RMSNormalization"))


def dense(d, shape):
    return call("layers.Dense", d.pick(2, 3, 4, 5), **kernel(d), **extras(d))


def einsum_dense(d, shape):
    return call("layers.EinsumDense", "...x,xy->...y", output_shape=(3,), bias_axes="y")


def activation_layer(d, shape):
    choices = [
        call("layers.Activation", activation(d)),
        call("layers.Activation", activation(d)),
        call(
            "layers.ReLU",
            max_value=d.maybe(0.4, 1.0, 6.0),
            negative_slope=d.maybe(0.4, 0.1),
            threshold=d.maybe(0.2, 0.1),
        ),
        call("layers.LeakyReLU", negative_slope=d.maybe(0.5, 0.1)),
        call("layers.ELU", alpha=d.maybe(0.5, 0.5)),
        call("layers.PReLU", shared_axes=d.maybe(0.5, list(range(1, len(shape) - 1)) or [1])),
        call("layers.Softmax", axis=d.maybe(0.3, 1)),
    ]
    return d.pick(*choices)


def dropout(d, shape):
    kinds = ["layers.Dropout", "layers.Dropout", "layers.GaussianDropout", "layers.GaussianNoise"]
    if len(shape) == 4:
        kinds.append("layers.SpatialDropout2D")
    return call(d.pick(*kinds), 0.0)


def rescaling(d, shape):
    if d.chance(0.2):
        return call("layers.Rescaling", [0.5] * shape[-1], offset=0.1)
    return call("layers.Rescaling", d.pick(0.5, 2, 1.0 / 3), offset=d.maybe(0.5, 0.1, -1))


def normalization(d, shape):
    settings = {"invert": d.maybe(0.15, True)}
    if d.chance(0.4):
        mean, variance = d.pick((0.3, 2.0), ([0.1] * shape[-1], [1.5] * shape[-1]))
        layer = call("layers.Normalization", mean=mean, variance=variance, **settings)
        # Built inside of a subclassed model's first call, plain Keras keeps uninitialised memory.
        return call("built", layer, *shape[1:])
    data = call("numbers", d.data_seed(), 7, *shape[1:])
    layer = call("layers.Normalization", axis=d.pick(-1, -1, None), **settings)
    return call("adapted", layer, data)


def reshaping(d, shape):
    if d.chance(0.3):
        axes = d.shuffled(range(1, len(shape)))
        return call("layers.Permute", tuple(axes))
    sizes = list(shape[1:])
    target = d.pick(
        (-1, shape[-1]), (-1,), (shape[-1], -1), tuple(reversed(sizes)), (1, *sizes), (*sizes, 1)
    )
    return call("layers.Reshape", target)


def flatten(d, shape):
    return call("layers.Flatten", data_format=d.maybe(0.1, "channels_first"))


def own(d, shape):
    return d.weighted(
        {
            call("OwnWeight"): 3,
            call("OwnWeight", autocast=False, dtype=d.maybe(0.5, "mixed_bfloat16")): 1,
            call("InTraining", d.pick(1.5, 0.5)): 3,
            call("NoTraining", d.pick(2, 3)): 4,
            call("PassesTraining", d.pick(True, False)): 4,
            call("Counts"): 1,
            call("AddsLoss"): 1,
            call("Scaled", 0.5): 2,
            call("InnerModel", d.pick(2, 3)): 1,
            call("Held", d.pick(2, 3)): 1,
            call("Twice"): 1,
            call("Gated", d.pick(2, 3)): 1,
            call("HalfFrozen"): 1,
            call("OnlyTrained"): 1,
            call("layers.Lambda", Source("cubic")): 1,
            call("layers.Identity"): 1,
        }
    )


def recurrent(d, shape):
    kind = d.pick("layers.SimpleRNN", "layers.LSTM", "layers.GRU")
    layer = call(kind, 2, return_sequences=d.maybe(0.5, True), go_backwards=d.maybe(0.15, True))
    return call("layers.Bidirectional", layer) if d.chance(0.2) else layer


def over_time(d, shape):
    inner = call("layers.Dense", 3, activation=activation(d))
    kernel_size = d.pick(1, 2, 3)
    padding = d.pick("same", "valid")
    choices = (
        call("layers.TimeDistributed", inner),
        call("layers.DepthwiseConv1D", kernel_size, padding=padding),
        call("layers.SeparableConv1D", 2, kernel_size, padding=padding),
        call("layers.Conv1DTranspose", 2, 2, strides=d.pick(1, 2)),
        call("layers.AdaptiveAveragePooling1D", d.pick(1, 2)),
        call("layers.SpatialDropout1D", 0.0),
        call("MakesMask"),
        call("layers.Conv1D", 3, d.pick(1, 2, 3), padding=d.pick("same", "valid", "causal")),
        call(d.pick("layers.MaxPooling1D", "layers.AveragePooling1D"), 2),
        call("layers.ZeroPadding1D", 1),
        call("layers.Cropping1D", (1, 0)),
        call("layers.UpSampling1D", 2),
    )
    return d.pick(*choices)


def to_time(d, shape):
    return call("layers.RepeatVector", d.pick(2, 3))


def wrapped(d, shape):
    return call("layers.SpectralNormalization", call("layers.Dense", 3))


def to_vector(d, shape):
    return call(d.pick("layers.GlobalAveragePooling1D", "layers.GlobalMaxPooling1D"))


def masking(d, shape):
    return call("layers.Masking", 0.0)


ANY = {
    dense: 5, batch_norm: 5, layer_norm: 3, group_norm: 1.5, other_norm: 0.7, dropout: 1.5,
    activation_layer: 5, rescaling: 1, normalization: 1, reshaping: 1, own: 5, einsum_dense: 0.4,
}  # fmt: skip
BY_RANK = {
    2: {**ANY, to_time: 0.3, wrapped: 0.2},
    3: {**ANY, recurrent: 2, over_time: 3, to_vector: 1, flatten: 0.5, masking: 0.8},
    4: {
        **ANY, dense: 1.5, flatten: 1, image.conv2d: 8, image.depthwise: 2.5, image.separable: 2,
        image.transposed: 0.7, image.pool2d: 3, image.global_pool2d: 1, image.zero_padding: 3,
        image.cropping: 1, image.up_sampling: 1, image.ours: 0.7,
    },
}  # fmt: skip


def layer(d, shape):
    """The source of a layer that may be called on a shape."""
    choices = BY_RANK.get(len(shape), {dense: 1, activation_layer: 1, flatten: 3})
    if shape[-1] is None:  # the data decides, or a Permute has moved it there
        choices = {activation_layer: 1, dropout: 1}
    return d.weighted(choices)(d, shape)
