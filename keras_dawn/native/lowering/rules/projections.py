"""`EinsumDense`: a linear map of some axes, which is what most of its equations say."""

import re
from dataclasses import dataclass

from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.layouts import AS_IS, Projection
from keras_dawn.native.lowering.reads import Recorded
from keras_dawn.native.lowering.rules import find_rule, rule
from keras_dawn.native.lowering.rules.activations import activate
from keras_dawn.native.lowering.values import LoweringError

import torch
from keras import layers


@dataclass(frozen=True)
class LinearMap:
    """An equation that contracts the input's last axes with a kernel and puts new ones last.

    Args:
        permutation: tuple, the kernel's axes: those of the outputs, then those of the inputs.
        outputs, inputs: int, how many these are.
    """

    permutation: tuple
    outputs: int
    inputs: int


def linear_map(equation):
    """The `LinearMap` of an einsum equation such as `"abc,cde->abde"`, or `None`."""
    letters = r"(\.\.\.)?([a-zA-Z]*),([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]*)"
    match = re.fullmatch(letters, equation.replace(" ", ""))
    if match is None:
        return None
    before, given, kernel, after, result = match.groups()
    batch = [letter for letter in given if letter not in kernel]
    inputs = [letter for letter in given if letter in kernel]
    outputs = [letter for letter in kernel if letter not in given]
    outputs.sort(key=result.find)
    alike = before == after and list(given) == batch + inputs and list(result) == batch + outputs
    distinct = len(set(given)) == len(given) and len(set(kernel)) == len(kernel)
    if not (alike and distinct and inputs and outputs):
        return None
    permutation = tuple(kernel.index(letter) for letter in outputs + inputs)
    return LinearMap(permutation, len(outputs), len(inputs))


@rule(layers.EinsumDense)
def einsum_dense(builder, layer, inputs, call):
    return activate(builder, project(builder, layer, inputs[0], call.name), layer, call)


def project(builder, layer, value, name):
    """What an `EinsumDense` makes of a value, before its activation."""
    if not is_float(value.dtype) or value.dtype != layer.compute_dtype:
        raise LoweringError(f"of {value.dtype}")
    linear = linear_map(layer.equation)
    node = builder.keras_order(value)
    if linear is None:
        kernel = builder.parameter(layer.kernel, AS_IS, layer.compute_dtype)
        node = builder.call(torch.einsum, layer.equation, node, kernel, name=name)
        rank = len(layer.equation.replace(" ", "").split("->")[1].replace("...", ""))
        if "..." in layer.equation:
            given = layer.equation.replace(" ", "").split(",")[0].replace("...", "")
            rank += value.rank - len(given)
        return _with_bias(builder, layer, value.with_node(node, rank=rank, torch_order=False))
    sizes = [layer.kernel.shape[axis] for axis in linear.permutation[: linear.outputs]]
    weight = builder.parameter(
        layer.kernel, Projection(linear.permutation, linear.outputs), layer.compute_dtype
    )
    fused = layer.bias is None or tuple(layer.bias.shape) == tuple(sizes)
    bias = None
    if layer.bias is not None and fused:
        vector = Projection(tuple(range(linear.outputs)), linear.outputs)
        vector = AS_IS if linear.outputs == 1 else vector
        bias = builder.parameter(layer.bias, vector, layer.compute_dtype)
    # As one matrix product: torch's einsum looks for the same one in every call.
    if linear.inputs > 1:
        node = builder.call(torch.flatten, node, value.rank - linear.inputs)
    node = builder.call(torch._C._nn.linear, node, weight, bias, name=name)
    if linear.outputs > 1:
        node = builder.graph.call_method("unflatten", (node, -1, tuple(sizes)))
    rank = value.rank - linear.inputs + linear.outputs
    value = value.with_node(node, rank=rank, torch_order=False)
    return value if fused else _with_bias(builder, layer, value)


def _with_bias(builder, layer, value):
    if layer.bias is None:
        return value
    bias = builder.parameter(layer.bias, AS_IS, layer.compute_dtype)
    return value.with_node(builder.call(torch.add, value.node, bias))


def apply_projection(builder, layer, value, call, name):
    """What an `EinsumDense` inside another layer makes of a value, activation included.

    Raises:
        LoweringError: only Keras's own call of it does what it does.
    """
    reason = why_as_it_is(layer, builder.reads)
    if reason is not None or find_rule(layer) is not einsum_dense:
        raise LoweringError(f"{layer.name}: {reason or type(layer).__name__}")
    recorded = Recorded(layer, builder.reads)
    value = builder.cast(value, recorded.compute_dtype)
    projected = project(builder, recorded, value, f"{call.name}_{name}")
    return activate(builder, projected, recorded, call)
