"""Values that Python may read and functions that it may call, and do the same at every step."""

import inspect
import sys
import types

from keras_dawn.foundation import keras_draws, keras_layers, keras_torch_calls

import keras
import numpy as np

OF_TENSORS = {"shape", "ndim", "dtype"}
OF_NUMBERS = {"is_integer"}
OF_CONTAINERS = {"append", "extend", "get", "items", "keys", "values"}
_BUILTINS = (len, range, zip, enumerate, int, float, bool, list, tuple, dict, reversed, abs,
             sum, min, max, any, all, round, slice, map, ValueError, TypeError,
             NotImplementedError)  # fmt: skip
_CONSTANTS = (bool, int, float, str, bytes, type(None), type(...), np.bool_, np.number)
_KERAS_FUNCTIONS = ("keras.src.ops.", "keras.src.activations.", "keras.src.backend.common.masking")
_OF_FUNCTIONS = (
    "associative_scan", "cond", "convert_to_numpy", "custom_gradient", "fori_loop", "is_tensor",
    "map", "scan", "shuffle", "switch", "vectorized_map", "while_loop",
)  # fmt: skip
_DRAWS = {f"keras.src.random.random.{name}" for name in keras_draws.NOTED}
_BACKEND_S_DRAWS = {f"keras.src.backend.torch.random.{name}" for name in keras_draws.NOTED}
# They look at what is installed or there, or at what makes every lowering new when it changes.
_OF_PACKAGES = {
    "keras_hub.src.utils.keras_utils.fused_attention_op_available",
    "keras_hub.src.utils.keras_utils.running_on_gpu",
    "keras_hub.src.utils.keras_utils.running_on_tpu",
    "keras.src.backend.config.backend", "keras.src.backend.config.epsilon",
    "keras.src.backend.config.floatx", "keras.src.backend.config.image_data_format",
}  # fmt: skip


class ImpureError(ValueError):
    """Python that may do more than combine layers and `keras.ops`; the message says where."""


def check_constant(name, value):
    """Raises `ImpureError` unless a value is a number, a string or a tuple of them."""
    if isinstance(value, tuple):
        for part in value:
            check_constant(name, part)
    elif callable(value):
        raise ImpureError(f"{name}, which may do more than compute, or something else each time")
    elif not isinstance(value, _CONSTANTS):
        raise ImpureError(f"{name} is a {type(value).__name__}, which may change")


def check_value(name, value, check_function, frozen):
    """Raises `ImpureError` unless an attribute is a layer, a constant, a function, a seed
    generator or made of them.

    Args:
        name: str, what the Python calls it.
        value: any.
        check_function: function `(name, function)` that raises for one that may not be called.
        frozen: bool, whether lists and dicts cannot be changed while calls are noted.
    """
    if isinstance(value, keras.Layer) or type(value) is keras.random.SeedGenerator:
        return
    if frozen and keras_layers.is_of_weights(value):
        return  # symbolic while the calls are noted
    if isinstance(value, (list, dict)) and not frozen:
        raise ImpureError(f"{name} may be changed")
    if isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            check_value(name, part, check_function, frozen)
    elif isinstance(value, types.FunctionType):
        check_function(name, value)
    else:
        check_constant(name, value)


def check_held(layer, reached):
    """Raises `ImpureError` for layers that a layer calls and does not hold, as one of its class.

    Keras's own that change nothing may be such: they were put into a list later, say.
    """
    held = set(map(id, keras_layers.all_layers(layer)))
    others = [each for each in reached if id(each) not in held]
    if not all(map(_only_computes, others)):
        raise ImpureError("a layer that it does not hold itself")


def _only_computes(layer):
    inside = keras_layers.all_layers(layer)
    keras_s = all(map(keras_layers.computes_as_keras_s, inside))
    if not keras_s or any(isinstance(each, keras.layers.Lambda) for each in inside):
        return False
    return not layer.non_trainable_variables  # the states of draws are among them


def check_lookup(owner, name):
    """Raises `ImpureError` where reading an attribute runs Python of the user's."""
    kind = keras_layers.class_of(owner)
    for lookup in ("__getattribute__", "__getattr__"):
        if isinstance(owner, keras.Layer) and getattr(kind, lookup) is not getattr(
            keras.Layer, lookup
        ):
            raise ImpureError(f"a {lookup} of its own")
    if not isinstance(owner, keras.Layer):
        look_up = inspect.getattr_static(kind, "__getattribute__")
        if not isinstance(look_up, types.WrapperDescriptorType) or hasattr(kind, "__getattr__"):
            raise ImpureError(f"a {kind.__name__}, which looks its attributes up by itself")
    static = inspect.getattr_static(kind, name, None)
    if isinstance(static, property):
        if not (static.fget.__module__ or "").startswith("keras.src."):
            raise ImpureError(f"the property {name}")
    elif isinstance(static, types.MemberDescriptorType):
        return  # a slot
    elif hasattr(type(static), "__get__") and not isinstance(
        static, (types.FunctionType, staticmethod)
    ):
        raise ImpureError(f"the descriptor {name}")


def property_of(layer, name):
    """The property of the user's own Python that an attribute of a layer is, or `None`."""
    own = inspect.getattr_static(keras_layers.class_of(layer), name, None)
    if type(own) is not property or not isinstance(own.fget, types.FunctionType):
        return None
    return None if (own.fget.__module__ or "").startswith("keras.src.") else own


def is_harmless_builtin(value):
    """Whether a global is one of Python's or torch's functions that only compute."""
    if keras_torch_calls.is_noted(value):
        return True
    if isinstance(value, types.BuiltinFunctionType) and value.__module__ == "math":
        return True
    if isinstance(value, np.ufunc) and getattr(np, value.__name__, None) is value:
        # Of numbers: NumPy takes no symbolic tensors. These compare also what is no number yet.
        return value not in (np.equal, np.not_equal)
    return any(value is one for one in _BUILTINS)


def makes_a_layer(function):
    """Whether a function makes a layer of Keras's that has no state, and calls it."""
    return (function.__module__ or "").startswith("keras.src.layers.merging.")


def is_harmless_function(name, function):
    """Whether a function need not be read; raises `ImpureError` where it must not be called."""
    module = function.__module__ or ""
    if module.startswith(_KERAS_FUNCTIONS):
        if function.__name__ in _OF_FUNCTIONS:
            raise ImpureError(f"keras.ops.{function.__name__}")
        return True
    if f"{module}.{function.__name__}" in _OF_PACKAGES | _DRAWS:
        return True
    if f"{module}.{function.__name__}" in _BACKEND_S_DRAWS and "." in name:
        return True  # noted where it is looked up in its module
    package = module.partition(".")[0]
    if package == "keras":
        raise ImpureError(f"Keras's {name}")
    if package in sys.stdlib_module_names or package in ("absl", "torch", "numpy"):
        raise ImpureError(name)
    return False
