"""Layers with settings of all kinds, by the shape that they are called on."""

from tests.native.fuzzing.draw import Source, call

ACTIVATIONS = (
    "relu", "relu6", "sigmoid", "tanh", "silu", "elu", "selu", "softplus", "softsign", "mish",
    "hard_sigmoid", "hard_silu", "gelu", "leaky_relu", "softmax", "log_softmax", "linear",
    "celu", "hard_tanh", "hard_shrink", "soft_shrink", "squareplus", "tanh_shrink",
    "log_sigmoid", "sparse_plus", "sparsemax", "exponential",
)  # fmt: skip
OBJECTS = (
    "keras.activations.relu",
    "keras.activations.gelu",
    "layers.LeakyReLU(negative_slope=0.1)",
    "layers.ReLU(max_value=1.0)",
    "layers.PReLU()",
    "layers.Softmax()",
    "halved",
    "cubic",
    "ops.tanh",
)


def activation(d):
    """An activation as a layer's argument: a name, a function or a layer."""
    return Source(d.pick(*OBJECTS)) if d.chance(0.25) else d.pick(*ACTIVATIONS)


def common(d):
    """Settings that any layer takes."""
    return {
        "trainable": d.maybe(0.06, False),
        "dtype": d.maybe(0.03, "float32", "float64", "mixed_bfloat16"),
    }


def kernel(d):
    """Settings of layers with a kernel."""
    return {
        "use_bias": d.maybe(0.3, False),
        "activation": activation(d) if d.chance(0.35) else None,
        **common(d),
    }


def extras(d, prefix="kernel"):
    """Regularizers and constraints, now and then."""
    return {
        f"{prefix}_regularizer": d.maybe(0.03, "l2", "l1"),
        f"{prefix}_constraint": d.maybe(0.03, "max_norm", "non_neg"),
        "activity_regularizer": d.maybe(0.015, "l2"),
    }


def image_format(d):
    return d.maybe(0.05, "channels_first", "channels_last")


def window(d):
    size = d.pick(1, 2, 3, 3, (2, 3), (3, 1))
    strides = d.maybe(0.35, 2, 2, (1, 2), 3)
    strides = strides if strides is None or size != 1 or d.chance(0.5) else None
    return size, strides, d.maybe(0.6, "same", "valid")


def conv2d(d, shape):
    size, strides, padding = window(d)
    channels = shape[-1]
    groups = d.maybe(0.2, *[n for n in (1, 2, 3, channels) if channels % n == 0])
    filters = d.pick(2, 3, 4) * (groups or 1) if (groups or 1) < 3 else groups
    dilation = d.maybe(0.15, 2, (1, 2)) if strides is None else None
    settings = {"groups": groups, "dilation_rate": dilation, "data_format": image_format(d)}
    return call(
        "layers.Conv2D",
        filters,
        size,
        strides=strides,
        padding=padding,
        **settings,
        **kernel(d),
        **extras(d),
    )


def depthwise(d, shape):
    size, strides, padding = window(d)
    strides = None if isinstance(strides, tuple) else strides
    settings = {"depth_multiplier": d.maybe(0.4, 2, 3), "data_format": image_format(d)}
    settings["dilation_rate"] = d.maybe(0.1, 2) if strides is None else None
    name = "layers.DepthwiseConv2D"
    return call(name, size, strides=strides, padding=padding, **settings, **kernel(d))


def separable(d, shape):
    size, strides, padding = window(d)
    strides = None if isinstance(strides, tuple) else strides
    settings = {"depth_multiplier": d.maybe(0.4, 2), "data_format": image_format(d)}
    name = "layers.SeparableConv2D"
    return call(
        name, d.pick(2, 3, 4), size, strides=strides, padding=padding, **settings, **kernel(d)
    )


def transposed(d, shape):
    padding = d.pick("same", "valid")
    return call(
        "layers.Conv2DTranspose", d.pick(2, 3), d.pick(2, 3), strides=d.pick(1, 2), padding=padding
    )


def pool2d(d, shape):
    size = d.pick(2, 2, 3, (1, 2))
    kind = d.pick("layers.MaxPooling2D", "layers.AveragePooling2D")
    settings = {"strides": d.maybe(0.5, 1, 2), "padding": d.maybe(0.4, "same")}
    return call(kind, size, **settings, data_format=image_format(d))


def global_pool2d(d, shape):
    kind = d.pick("layers.GlobalAveragePooling2D", "layers.GlobalMaxPooling2D")
    return call(kind, keepdims=d.maybe(0.3, True), data_format=image_format(d))


def zero_padding(d, shape):
    amount = d.pick(1, 2, (1, 0), ((1, 1), (1, 1)), ((0, 1), (2, 0)))
    return call("layers.ZeroPadding2D", amount, data_format=image_format(d))


def cropping(d, shape):
    amount = d.pick(1, (1, 0), ((0, 1), (1, 0)))
    return call("layers.Cropping2D", amount, data_format=image_format(d))


def up_sampling(d, shape):
    method = d.maybe(0.3, "bilinear")
    return call("layers.UpSampling2D", d.pick(2, (1, 2)), interpolation=method)


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
        return call("layers.Normalization", mean=mean, variance=variance, **settings)
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
            call("InTraining", d.pick(1.5, 0.5)): 3,
            call("NoTraining", d.pick(2, 3)): 3,
            call("PassesTraining", d.pick(True, False)): 2,
            call("Counts"): 1,
            call("AddsLoss"): 1,
            call("Scaled", 0.5): 2,
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
    choices = (
        call("layers.TimeDistributed", inner),
        call("layers.Conv1D", 3, d.pick(1, 2, 3), padding=d.pick("same", "valid", "causal")),
        call(d.pick("layers.MaxPooling1D", "layers.AveragePooling1D"), 2),
        call("layers.ZeroPadding1D", 1),
        call("layers.Cropping1D", (1, 0)),
        call("layers.UpSampling1D", 2),
    )
    return d.pick(*choices)


def to_vector(d, shape):
    return call(d.pick("layers.GlobalAveragePooling1D", "layers.GlobalMaxPooling1D"))


def masking(d, shape):
    return call("layers.Masking", 0.0)


ANY = {
    dense: 5, batch_norm: 5, layer_norm: 3, group_norm: 1.5, other_norm: 0.7, dropout: 1.5,
    activation_layer: 5, rescaling: 1, normalization: 1, reshaping: 1, own: 3, einsum_dense: 0.4,
}  # fmt: skip
BY_RANK = {
    2: {**ANY, Source: 0},
    3: {**ANY, recurrent: 2, over_time: 3, to_vector: 1, flatten: 0.5, masking: 0.3},
    4: {
        **ANY, dense: 1.5, conv2d: 8, depthwise: 2.5, separable: 2, transposed: 0.7, pool2d: 3,
        global_pool2d: 1, zero_padding: 3, cropping: 1, up_sampling: 1, flatten: 1,
    },
}  # fmt: skip
del BY_RANK[2][Source]


def layer(d, shape):
    """The source of a layer that may be called on a shape."""
    return d.weighted(BY_RANK.get(len(shape), {dense: 1, activation_layer: 1, flatten: 3}))(
        d, shape
    )
