"""Lowers a model, or one layer for one kind of call, to a `torch.fx.GraphModule`."""

import functools
import itertools

from keras_dawn.foundation import keras_context, keras_layers, keras_masks, keras_models
from keras_dawn.native.lowering.input_sizes import fits_graph
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.lowered import builder_of, lowered_graph
from keras_dawn.native.lowering.nodes import Node
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.lowering.sizes import run_with_sizes
from keras_dawn.native.lowering.structures import call_like_the_model
from keras_dawn.native.lowering.values import LoweringError, Value
from keras_dawn.native.lowering.walk import lower_call, lower_own, run

import keras
import torch


def to_torch(model, training=False):
    """A Keras model as straight PyTorch that shares its weights.

    The module computes what `model(x, training=training)` computes, on the Keras
    variables' own memory: what one changes, the other sees. Its parameters have torch's
    shapes (a convolution's `(out, in, height, width)`, in `channels_last` memory format).
    `module.code` is the model as a PyTorch function. For a layer without a rule the
    Keras layer itself is called.

    The module takes and returns the structures of the model: what was made with a dict or a
    list of inputs is called with one (or with the tensors one by one, in Keras's order: a dict's
    by its sorted keys), and outputs come as the model's.

    Args:
        model: a built Functional or Sequential `keras.Model`. A subclassed one whose `call` only
            combines layers goes inside one: `keras.Model(inputs, model(inputs))`.
        training: bool, which mode the code is for; the module's `train()` and `eval()` change it.
            In training, moving averages follow torch's definition (the unbiased variance), unlike
            under `accelerate`.

    Returns:
        `torch.fx.GraphModule` from the model's inputs to its outputs, tensors of Keras's shapes.

    Raises:
        LoweringError: a model that is no graph of layers; the message says why.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "relu")])
        >>> module = keras_dawn.to_torch(model)
        >>> x = torch.ones(3, 4)
        >>> bool((module(x) == model(x)).all())
        True
    """
    module = _as_module(model, training)
    module.change_modes_by(training, functools.partial(_as_module, model))
    return module


def _as_module(model, training):
    lowered = lower(model, training, masks=False)
    inputs = keras_models.input_structure(lowered.functional)
    call_like_the_model(lowered.module, inputs, lowered.output_structure)
    return lowered.module


def lower(
    model, training, collect_statistics=False, *, views=(), masks=True, shapes=None, whole=False
):
    """Lowers a model and says how; see `to_torch`.

    Args:
        model: built `keras.Model` that is a graph of layers.
        training: bool, or `None` where nobody is told the mode.
        collect_statistics: bool, whether the module returns batch statistics.
        views: variables to be parameters themselves, not in torch's layout; `None` for all.
        masks: bool, whether the module returns the outputs' masks where there may be any.
        shapes: list of the shapes of the inputs that it is for, `None` for open sizes in them; or
            `None` for the graph's own with batches of any size.
        whole: bool, whether no layer may be called as it is.
    """
    functional = _functional(model)
    given = _given(functional, shapes)

    def walk(builder):
        builder.untold = training is None
        inputs = []
        for number, tensor in enumerate(functional.inputs):
            name = "x" if len(functional.inputs) == 1 else f"x{number}"
            node = builder.graph.placeholder(name)
            inputs.append(Value(node, len(tensor.shape), tensor.dtype))
        if shapes is None and fits_graph(given, functional):
            return run(builder, functional, inputs, bool(training))
        return run_with_sizes(builder, functional, inputs, given, bool(training), whole)[0]

    make = builder_of(model, bool(training), collect_statistics)
    lowered = lowered_graph(walk, make, views, masks)
    lowered.output_structure = _output_structure(functional, lowered.output_structure)
    lowered.input_dtypes = [getattr(torch, tensor.dtype) for tensor in functional.inputs]
    lowered.functional, lowered.inputs = functional, given
    lowered.any_sizes = isinstance(model, keras.Sequential)
    return lowered


def _given(functional, shapes):
    """Symbolic inputs of these shapes; without them, of the graph's own but for any batch."""
    if shapes is None:
        shapes = [(None, *tensor.shape[1:]) for tensor in functional.inputs]
    return [
        keras.KerasTensor(shape, tensor.dtype)
        for shape, tensor in zip(shapes, functional.inputs, strict=True)
    ]


def lower_layer(layer, args, kwargs, training):
    """Lowers one built layer for one kind of call; its variables are the parameters.

    The module takes the call's tensors in their order, each followed by its mask if it has one.

    Args:
        layer: built Keras layer.
        args, kwargs: what it is called with, `KerasTensor`s in place of tensors, their masks
            attached; without `training`.
        training: bool, or `None` where nobody is told the mode.

    Raises:
        LoweringError: no rule, or none for these settings.
    """
    first = keras.tree.flatten((args, kwargs))[0]
    keras_layers.check_input(layer, args[0] if args else first)
    own = find_rule(layer) is None
    outputs = None
    if not own:  # else its Python runs only as far as it is known to change nothing
        with keras_context.apart(layer, training):  # it may run Python that tells layers a mode
            outputs = layer.compute_output_spec(*args, **kwargs)
    inputs = []

    def walk(builder):
        nonlocal outputs
        builder.for_one_layer, builder.untold = True, training is None
        builder.losses = [] if own else None
        # A walk may begin anew; see `lowered_graph`.
        inputs.clear()

        def placeholder(part):
            if not isinstance(part, keras.KerasTensor):
                return part
            name = f"x{len(inputs)}" if len(inputs) else "x"
            value = Value(builder.graph.placeholder(name), len(part.shape), part.dtype)
            inputs.append(value)
            if keras_masks.mask_of(part) is not None:
                builder.masks.set(value, builder.graph.placeholder(f"{name}_mask"))
            return value

        values = _mapped(placeholder, (args, kwargs))
        flat = keras.tree.flatten((args, kwargs))
        symbols = tuple(part for part in flat if isinstance(part, keras.KerasTensor))
        if own:
            results, outputs = _lowered_own(builder, Node(layer, symbols, ()), values, training)
        else:
            node = Node(layer, symbols, tuple(keras.tree.flatten(outputs)))
            results = lower_call(builder, node, *values, bool(training))
        if builder.fallbacks:
            raise LoweringError(builder.fallbacks[0][1])
        return results

    make = builder_of(layer, bool(training), bool(training))
    lowered = lowered_graph(walk, make, None, masks=True)
    if any(output is None for output in keras.tree.flatten(outputs)):
        raise LoweringError("it returns None")
    # Not `pack_sequence_as`, which sorts the keys of a dict.
    numbers = itertools.count()
    lowered.output_structure = keras.tree.map_structure(lambda _: next(numbers), outputs)
    lowered.unmasked = [number for number, value in enumerate(inputs) if value.unmasked]
    return lowered


def _mapped(function, part):
    """A structure of a function's results, called in the order of the structure.

    Keras's walks may take the keys of a dict in alphabetical order.
    """
    if type(part) in (list, tuple):
        return type(part)([_mapped(function, each) for each in part])
    if type(part) is dict:
        return {key: _mapped(function, each) for key, each in part.items()}
    return function(part)


def _lowered_own(builder, node, values, training):
    """What `lower_own` gives for one layer that is called by itself."""
    reason = why_as_it_is(node.operation, None)
    if reason is not None:
        raise LoweringError(reason)
    results = lower_own(builder, node, *values, bool(training))
    builder.for_one_layer = True
    builder.native.append(node.operation)
    return results


def _output_structure(functional, count):
    """The structure of `model(x)`; a list of one tensor is handed out as the tensor."""
    structure = keras.tree.pack_sequence_as(
        keras_models.output_structure(functional), list(range(count))
    )
    single = isinstance(structure, (list, tuple)) and len(structure) == 1
    return structure[0] if single else structure


def _functional(model):
    if not isinstance(model, keras.Model):
        raise LoweringError(f"Expected a keras.Model, got {type(model).__name__}.")
    functional = keras_models.functional_graph(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise LoweringError(f"{model.name} is not built: give it an Input, or call it once.")
    if functional is None and not keras_models.has_own_call(model):
        parts = [f"to_torch(model.{name})" for name in _graphs_in(model)]
        raise LoweringError(
            f"{model.name} is a subclassed model without a `call`: nothing says what it computes. "
            "`accelerate` takes it as it is. For `to_torch` give a part of it that is a graph of "
            f"layers{': ' if parts else '.'}{', '.join(parts)}"
        )
    if functional is None:
        raise LoweringError(
            f"{model.name} is a subclassed model: its `call` is Python, not a graph of layers. "
            "`accelerate` takes it as it is. For `to_torch` make a graph of it: with "
            "inputs = keras.Input(shape) of one sample, to_torch(keras.Model(inputs, "
            "model(inputs))) writes in torch what its `call` combines and calls the rest."
        )
    return functional


def _graphs_in(model):
    """The names of a model's attributes that are graphs of layers."""
    return [
        name
        for name, value in model.named_children()
        if isinstance(value, keras.Model) and keras_models.functional_graph(value) is not None
    ]
