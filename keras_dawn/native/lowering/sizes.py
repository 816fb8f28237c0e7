"""The walk over a graph of layers for other sizes than Keras has noted in it."""

from keras_dawn.foundation import keras_context, keras_layers, keras_masks, keras_models
from keras_dawn.native.lowering.input_sizes import fits_graph
from keras_dawn.native.lowering.nodes import Arguments, Node
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.lowering.walk import arguments_of, lower_with_sizes

import keras


def run_with_sizes(builder, functional, inputs, given, training, whole=False):
    """Lowers every call of a `Functional` for inputs of these sizes.

    Args:
        builder: `GraphBuilder`.
        functional: Keras's `Functional`.
        inputs: list of `Value`, its inputs.
        given: list of `KerasTensor`, what it is called with.
        training: bool.
        whole: bool, whether all that is called as it is raises.

    Returns:
        list of `Value` and of `KerasTensor`, the outputs.

    Raises:
        LoweringError: a layer can only be called as it is, and all is to be lowered.
    """
    values = dict(zip(map(id, functional.inputs), inputs, strict=True))
    symbols = {
        id(tensor): _symbol(x.shape, tensor.dtype, value, x)
        for tensor, value, x in zip(functional.inputs, inputs, given, strict=True)
    }
    noted_hold = fits_graph(given, functional)
    for node in keras_models.nodes(functional):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue  # of another graph that the layer was called in
        noted = node.outputs if noted_hold else [_unknown(tensor) for tensor in node.outputs]
        found = _call(builder, node, noted, values, symbols, training)
        if whole and builder.fallbacks:
            raise LoweringError(builder.fallbacks[-1][1])
        for tensor, value, symbol in zip(node.outputs, *found, strict=True):
            values[id(tensor)] = value
            symbols[id(tensor)] = _symbol(symbol.shape, symbol.dtype, value, tensor)
    outputs = [id(tensor) for tensor in functional.outputs]
    return [values[each] for each in outputs], [symbols[each] for each in outputs]


def _symbol(shape, dtype, value, made):
    """A `KerasTensor` in place of one in a graph, with a mask where its value has one.

    Args:
        shape, dtype: its own.
        value: `Value` that it stands for.
        made: the `KerasTensor` in the graph.
    """
    symbol = keras.KerasTensor(shape, dtype)
    mask = keras_masks.mask_of(made)
    if value.mask is not None and mask is not None:
        rank = len(mask.shape)
        if tuple(mask.shape) == tuple(made.shape[:rank]):
            keras_masks.attach_mask(symbol, keras.KerasTensor(shape[:rank], "bool"))
    return symbol


def _call(builder, node, noted, values, symbols, training):
    """The outputs of one call: list of `Value` and of `KerasTensor`.

    `noted` are those `KerasTensor`s that are handed out where no other sizes can be found.
    """
    called, symbolic = (arguments_of(builder, node, each) for each in (values, symbols))
    given = tuple(symbols[id(tensor)] for tensor in node.input_tensors)
    outputs = noted
    if not _has_own_python(node.operation):
        outputs = _output_spec(node.operation, *symbolic) or noted
    call = Node(node.operation, given, tuple(outputs), Arguments(*symbolic))
    results, found = lower_with_sizes(builder, call, *called, training)
    return results, outputs if found is None else found


def _has_own_python(operation):
    """Whether sizes come of a call of one's own Python, or of the layers inside a model."""
    if isinstance(operation, keras.Model):
        return True
    own = isinstance(operation, keras.Layer) and find_rule(operation) is None
    return own and not keras_layers.acts_as(operation).__module__.startswith("keras.")


def _unknown(tensor):
    return keras.KerasTensor((None,) * len(tensor.shape), tensor.dtype)


def _output_spec(operation, args, kwargs):
    """The outputs as Keras infers them, flat; `None` where it cannot for these sizes."""
    try:
        if not isinstance(operation, keras.Layer):
            return keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))
        with keras_context.apart(operation, None):
            return keras.tree.flatten(operation.compute_output_spec(*args, **kwargs))
    except Exception:  # it may need a size that is not known
        return None
