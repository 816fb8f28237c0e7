"""Settings that many layers take: activations, kernels, what is frozen."""

from tests.native.fuzzing.draw import Source

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
        "dtype": d.maybe(0.04, "float32", "float64", "mixed_bfloat16", "bfloat16"),
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
