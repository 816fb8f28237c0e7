"""What a layer holds itself, symbolic or not to be changed while its calls are noted."""

import contextlib
import functools

from keras_dawn.foundation import keras_layers, keras_variables
from keras_dawn.foundation.frozen import frozen

import keras


class TraceError(ValueError):
    """A `call` that is not told by its calls; the message says why."""


@contextlib.contextmanager
def tensors_as_symbols(layer, constants, in_scope):
    """The layer's own variables and tensors are symbolic, so that what is made of them is noted.

    Args:
        layer: Keras layer.
        constants: list of `(KerasTensor, tensor or Keras variable)`, which is added to.
        in_scope: bool, whether the layer is sure to be called where an autocast scope is open.
    """
    own, swapped = vars(layer), {}
    symbol_of = functools.partial(_symbol_of, layer=layer, constants=constants, in_scope=in_scope)
    try:
        for name, part in list(own.items()):
            symbolic = part if name in _of_every_layer() else _replaced(part, symbol_of)
            if symbolic is not part:
                swapped[name], own[name] = part, symbolic
        yield
    finally:
        own.update(swapped)


def _replaced(part, symbol_of):
    """A weight's symbol, or a list, tuple or dict with symbols in it; else what it is given."""
    if keras_layers.is_of_weights(part):
        return symbol_of(part)
    if isinstance(part, dict):
        found = {key: _replaced(each, symbol_of) for key, each in part.items()}
        return found if any(found[key] is not part[key] for key in part) else part
    if not isinstance(part, list) and type(part) is not tuple:
        return part
    found = [_replaced(each, symbol_of) for each in part]
    if all(new is old for new, old in zip(found, part, strict=True)):
        return part
    return tuple(found) if isinstance(part, tuple) else found


def _symbol_of(part, layer, constants, in_scope):
    """The `KerasTensor` in place of a variable or a tensor."""
    known = next((symbol for symbol, each in constants if each is part), None)
    if known is not None:
        return known
    if isinstance(part, keras.Variable):
        dtype = _dtype_read(layer, part, in_scope)
    else:
        dtype = keras.backend.standardize_dtype(part.dtype)
    symbol = keras.KerasTensor(tuple(part.shape), dtype)
    constants.append((symbol, part))
    return symbol


@contextlib.contextmanager
def losses_noted(layer):
    """What the layer itself adds to the loss meanwhile: a list of symbolic tensors."""
    added = []

    def add_loss(loss):
        flat = keras.tree.flatten(loss)
        if not all(isinstance(part, keras.KerasTensor) for part in flat):
            raise TraceError("it adds a loss that is not computed from tensors")
        added.extend(flat)

    own = keras_layers.class_of(layer).add_loss is not keras.Layer.add_loss
    if own or "add_loss" in vars(layer):  # the user's, which is looked at like any Python
        yield added
        return
    vars(layer)["add_loss"] = add_loss
    try:
        yield added
    finally:
        del vars(layer)["add_loss"]


@contextlib.contextmanager
def lists_frozen(layers):
    """The lists and dicts of layers of the user's cannot be changed."""
    swapped = []
    try:
        for layer in layers:
            if keras_layers.computes_as_keras_s(layer):
                continue
            for name, part in list(vars(layer).items()):
                if isinstance(part, (list, tuple, dict)) and name not in _of_every_layer():
                    swapped.append((layer, name, part))
                    vars(layer)[name] = frozen(part)
        yield
    finally:
        for layer, name, part in swapped:
            vars(layer)[name] = part


def _dtype_read(layer, variable, in_scope):
    """The dtype in which a layer's `call` sees one of its variables."""
    own = keras.backend.standardize_dtype(keras_variables.memory_of(variable).dtype)
    if not keras_variables.autocasts(variable) or "float" not in own:
        return own
    mixed = layer.compute_dtype != layer.variable_dtype
    # The scope that Keras opens for the layer where one is open already, and where none is.
    inside = layer.compute_dtype if layer.autocast and "float" in layer.compute_dtype else own
    alone = layer.compute_dtype if mixed else own
    if not in_scope and inside != alone:
        raise TraceError("it holds a weight that is cast or not, by what calls the layer")
    return inside


@functools.cache
def _of_every_layer():
    """The names of a layer's attributes; not when imported: a layer settles the dtype policy."""
    return frozenset(vars(keras.Layer(name="none")))
