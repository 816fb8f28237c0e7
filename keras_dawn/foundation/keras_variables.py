"""Variables: their own tensors, and the scopes of dtypes in which layers read them."""

import contextlib

import keras
import torch
from keras.src.backend.common import global_state
from keras.src.backend.common import variables as variables_module

# What a native call takes. A subclass may do anything in its place, and goes to Keras's own call.
TENSORS = (torch.Tensor, torch.nn.Parameter)

FLOATS = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}


def device_of(model, variables=None):
    """The torch device that a model computes on: its variables', else the one Keras computes on."""
    first = _first_variable(model) if variables is None else next(iter(variables), None)
    return (keras.ops.zeros(()) if first is None else first.value).device


def _first_variable(layer):
    """The first of `layer.variables`, or `None`; to list them all takes long."""
    if type(layer).variables is not keras.Layer.variables:  # somebody's own
        return next(iter(layer.variables), None)
    for own in (layer._trainable_variables, layer._non_trainable_variables):
        if own:
            return own[0]
    if layer._seed_generators:
        return layer._seed_generators[0].state
    found = map(_first_variable, layer._layers)
    return next((variable for variable in found if variable is not None), None)


def is_cast(variable):
    """Whether torch cast the variable's tensor (`model.half()`), which the variable is not told."""
    value = variable._value
    return value is not None and FLOATS.get(value.dtype, variable._dtype) != variable._dtype


def scope_inside(layer, scope):
    """The scope of dtypes in which a layer's `call` reads weights, as `Layer.__call__` opens it.

    Args:
        layer: Keras layer.
        scope: the scope in which the layer is called, or `None` where there is none.

    Returns:
        `scope` itself where Keras opens no other one.
    """
    dtype = layer.compute_dtype
    if scope is None:  # the outermost layer's `autocast` is not asked
        return None if dtype == layer.variable_dtype else variables_module.AutocastScope(dtype)
    if not layer.autocast or not keras.backend.is_float_dtype(dtype):
        return variables_module.AutocastScope(None)
    return scope if scope.dtype == dtype else variables_module.AutocastScope(dtype)


def autocast_scope(layer):
    """A context manager: the present scope becomes that in which a layer's `call` reads weights."""
    present = variables_module.get_autocast_scope()
    inside = scope_inside(layer, present)
    return contextlib.nullcontext() if inside is present else inside


def dtype_inside(layer, dtype):
    """The dtype of the scope in which a layer's `call` reads weights, or `None` if it casts none.

    Args:
        layer: Keras layer.
        dtype: of the scope in which the layer is called, or `None`.
    """
    scope = scope_inside(layer, None if dtype is None else variables_module.AutocastScope(dtype))
    return scope and scope.dtype


def scope_of_dtype(dtype):
    """The scope of a dtype; `None` leaves the present one."""
    return contextlib.nullcontext() if dtype is None else variables_module.AutocastScope(dtype)


@contextlib.contextmanager
def no_autocast():
    """No scope is open inside: a variable's value is its own memory, its dtype what it was made in.

    Inside an `AutocastScope(None)` a variable of another float dtype names `floatx` as its own.
    """
    present = variables_module.get_autocast_scope()
    global_state.set_global_attribute("autocast_scope", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("autocast_scope", present)


def has_hooks(variable):
    """Whether somebody's hook waits for the gradient of a variable's own tensor."""
    return is_hooked(variable._value)


def is_hooked(tensor):
    """Whether somebody's hook waits for the gradient of a tensor."""
    return bool(tensor._backward_hooks or tensor._post_accumulate_grad_hooks)


def hooks_on_gradient(variable):
    """The functions that torch calls with a variable's gradient."""
    tensor = variable._value
    hooks = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    return [hook for each in hooks for hook in (each or {}).values()]


def memory_of(variable):
    """A variable's own tensor, past the casts of an autocast scope."""
    return variable._value


def autocasts(variable):
    """Whether a variable is read in an autocast scope's dtype."""
    return variable._autocast
