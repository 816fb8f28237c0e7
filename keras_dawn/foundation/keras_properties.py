"""Properties of layers that Keras computes anew each time, and the attributes that decide them.

A step asks in every call whether what it read of a layer still holds. Keras's `kernel` imports a
module and looks at six settings before it returns the variable; the attributes cost nothing.
"""

from keras_dawn.foundation.keras_layers import class_of

import keras

_POLICIES = (keras.dtype_policies.DTypePolicy, keras.dtype_policies.FloatDTypePolicy)
_OF_POLICY = {
    name: getattr(keras.Layer, name)
    for name in ("input_dtype", "compute_dtype", "variable_dtype", "quantization_mode")
}
_WEIGHTS = {  # Keras's own properties → where the variable is that they return
    keras.layers.Dense.kernel: "_kernel",
    keras.layers.EinsumDense.kernel: "_kernel",
    keras.layers.Conv1D.kernel: "_kernel",  # and of all other convolutions, by inheritance
    keras.layers.Embedding.embeddings: "_embeddings",
}


def holds(layer, name, value):
    """Whether an attribute of a layer is its own, or a property of Keras's that returns its own."""
    if name in vars(layer):
        return True
    private = _WEIGHTS.get(getattr(class_of(layer), name, None))
    return private is not None and vars(layer).get(private) is value


def deciding(layer, name, value):
    """The attributes that decide a property of a layer, with the values they have.

    While each is the same object, the property has the same value.

    Args:
        layer: Keras layer.
        name: str, of the attribute.
        value: what it is known to be.

    Returns:
        Tuple of `(name, value)`, or `None` for what only the property itself can say.
    """
    own = getattr(class_of(layer), name, None)
    policy = vars(layer).get("_dtype_policy")
    if not isinstance(own, property) or type(policy) not in _POLICIES:
        return None
    if own is _OF_POLICY.get(name):
        return (("_dtype_policy", policy),) if getattr(layer, name) == value else None
    private = _WEIGHTS.get(own)
    adapted = vars(layer).get("lora_enabled", True)
    if private is None or adapted or layer.quantization_mode is not None:
        return None
    variable = vars(layer).get(private)
    if variable is None or variable is not value or not layer.built:
        return None
    return (private, variable), ("_dtype_policy", policy), ("lora_enabled", adapted)
