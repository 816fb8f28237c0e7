"""`keras.ops` on Keras tensors: products, reductions, comparisons, choices, activations."""

from keras_dawn.native.gelu import gelu_of_images
from keras_dawn.native.lowering.dtypes import HALF, is_float, promoted, result_type
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value, float_value

import torch
import torch.nn.functional as F

NUMPY, NN, CORE = (f"keras.src.ops.{part}." for part in ("numpy", "nn", "core"))
COMPARING = {
    "Equal": torch.eq, "NotEqual": torch.ne, "Less": torch.lt, "LessEqual": torch.le,
    "Greater": torch.gt, "GreaterEqual": torch.ge, "LogicalAnd": torch.logical_and,
    "LogicalOr": torch.logical_or, "LogicalXor": torch.logical_xor,
}  # fmt: skip
REDUCING = {
    "Mean": torch.mean, "Sum": torch.sum, "Max": torch.amax, "Amax": torch.amax,
    "Min": torch.amin, "Amin": torch.amin,
}  # fmt: skip
OF_ALL = {"Max": torch.max, "Min": torch.min}  # of NaN another gradient than that of the above
ALONG_AN_AXIS = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}


def _values(call):
    """The operation's operands, all of them tensors."""
    if call.kwargs or not all(isinstance(part, Value) for part in call.args):
        raise LoweringError("operands that are no tensors")
    return call.args


def _floats(*values):
    """Float tensors of one dtype that is known."""
    if len({value.dtype for value in values}) > 1 or any(value.guessed for value in values):
        raise LoweringError("operands of different dtypes")
    float_value(values[0])
    return values


def _axes(axis):
    """An operation's axis or axes as torch takes them; `None` for all."""
    axis = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    if axis == ():
        raise LoweringError("no axes")
    return axis


def _kind(operation):
    """The name of an operation's class, past the object that records what a rule reads."""
    return operation.__class__.__name__


def _rank(call):
    return len(call.output.shape)


@rule(NUMPY + "Matmul")
def matmul(builder, operation, inputs, call):
    one, other = _floats(*_values(call))
    if one.dtype != result_type(one.dtype):
        raise LoweringError(f"of {one.dtype}, which Keras casts")
    nodes = builder.keras_order(one), builder.keras_order(other)
    node = builder.call(torch.matmul, *nodes, name=call.name)
    return one.with_node(node, rank=_rank(call), torch_order=False)


@rule(NUMPY + "Einsum")
def einsum(builder, operation, inputs, call):
    values = _values(call)
    nodes = [builder.keras_order(value) for value in _floats(*values)]
    node = builder.call(torch.einsum, operation.subscripts, *nodes, name=call.name)
    return values[0].with_node(node, rank=_rank(call), torch_order=False)


@rule(*(NUMPY + name for name in REDUCING))
def reduction(builder, operation, inputs, call):
    (value,) = _floats(*_values(call))
    kind = _kind(operation)
    if getattr(operation, "initial", None) is not None:
        raise LoweringError("initial")
    axes, function = _axes(operation.axis), REDUCING[kind]
    if axes is None and operation.keepdims and kind != "Mean":
        raise LoweringError("keepdims without an axis, which Keras forgets")
    if axes is None and kind in OF_ALL:
        node = builder.call(OF_ALL[kind], builder.keras_order(value), name=call.name)
        return value.with_node(node, rank=0, torch_order=False)
    if axes is None:
        axes = tuple(range(value.rank))
    node, dtype = builder.keras_order(value), value.dtype
    wide = kind == "Mean" and dtype in HALF
    if wide:  # as Keras computes it
        node = builder.graph.call_method("float", (node,))
    node = builder.call(function, node, axes, bool(operation.keepdims), name=call.name)
    if wide:
        node = builder.to(Value(node, _rank(call), "float32"), dtype).node
    return value.with_node(node, rank=_rank(call), torch_order=False)


@rule(*(NUMPY + name for name in COMPARING))
def comparison(builder, operation, inputs, call):
    """`x > 0`, `x == y` and the like: bools."""
    if call.kwargs or len(call.args) != 2:
        raise LoweringError("keyword arguments")
    if len(inputs) < 2 and _kind(operation).startswith("Logical"):
        raise LoweringError("an operand that is no tensor")
    parts = [
        builder.keras_order(part) if isinstance(part, Value) else _whole(part, inputs)
        for part in call.args
    ]
    node = builder.call(COMPARING[_kind(operation)], *parts, name=call.name)
    return Value(node, _rank(call), "bool")


def _whole(number, inputs):
    """A number that means the same in every dtype of tensors that it is compared with."""
    # Below 128 a whole number is itself in int8 and bfloat16 too.
    if type(number) in (int, float) and number == int(number) and abs(number) < 128:
        return int(number)
    if type(number) is float and all(value.dtype == "float64" for value in inputs):
        return number
    raise LoweringError(f"compared with {number}")


@rule(NUMPY + "LogicalNot")
def logical_not(builder, operation, inputs, call):
    (value,) = _values(call)
    node = builder.call(torch.logical_not, builder.keras_order(value), name=call.name)
    return Value(node, value.rank, "bool")


@rule(NUMPY + "Where", arguments=True)
def where(builder, operation, inputs, call):
    condition, *choices = (call.arguments[name] for name in ("condition", "x1", "x2"))
    tensors = [part for part in choices if isinstance(part, Value)]
    if not isinstance(condition, Value) or not tensors:
        raise LoweringError("a condition or choices that are no tensors")
    _floats(*tensors)
    parts = [
        builder.keras_order(part) if isinstance(part, Value) else _whole(part, tensors)
        for part in choices
    ]
    chosen = builder.keras_order(condition)
    if condition.dtype != "bool" or condition.guessed:
        chosen = builder.graph.call_method("bool", (chosen,))
    node = builder.call(torch.where, chosen, *parts, name=call.name)
    return tensors[0].with_node(node, rank=_rank(call), torch_order=False)


@rule(*(NN + name for name in ALONG_AN_AXIS))
def along_an_axis(builder, operation, inputs, call):
    (value,) = _values(call)
    if not is_float(value.dtype) or value.dtype == "float16" or type(operation.axis) is not int:
        raise LoweringError("axis or dtype")
    function = ALONG_AN_AXIS[_kind(operation)]
    node = builder.call(function, builder.keras_order(value), operation.axis, name=call.name)
    return value.with_node(node, torch_order=False)


@rule(NN + "Gelu")
def gelu(builder, operation, inputs, call):
    (value,) = _floats(*_values(call))
    value = builder.padded(value)
    if value.torch_order and not operation.approximate:
        return value.with_node(builder.call(gelu_of_images, value.node, name=call.name))
    kind = {"approximate": "tanh"} if operation.approximate else {}
    return value.with_node(builder.call(F.gelu, value.node, name=call.name, **kind))


@rule(NN + "LeakyRelu")
def leaky_relu(builder, operation, inputs, call):
    (value,) = _floats(*_values(call))
    value = builder.padded(value)
    slope = float(operation.negative_slope)
    return value.with_node(builder.call(F.leaky_relu, value.node, slope, name=call.name))


@rule(CORE + "StopGradient")
def stop_gradient(builder, operation, inputs, call):
    (value,) = _values(call)
    value = builder.padded(value)
    return value.with_node(builder.graph.call_method("detach", (value.node,)))


@rule(NUMPY + "Concatenate")
def concatenate(builder, operation, inputs, call):
    if len(call.args) != 1 or call.kwargs or not inputs:
        raise LoweringError("operands that are no tensors")
    nodes = [builder.keras_order(value) for value in inputs]
    node = builder.call(torch.cat, nodes, int(operation.axis), name=call.name)
    result = inputs[0].with_node(node, dtype=promoted(*inputs), torch_order=False)
    result.guessed = any(value.guessed for value in inputs)
    return result


@rule(NUMPY + "Stack")
def stack(builder, operation, inputs, call):
    if len(call.args) != 1 or call.kwargs or len({value.dtype for value in inputs}) > 1:
        raise LoweringError("operands that are no tensors of one dtype")
    nodes = [builder.keras_order(value) for value in inputs]
    node = builder.call(torch.stack, nodes, int(operation.axis), name=call.name)
    result = inputs[0].with_node(node, rank=inputs[0].rank + 1, torch_order=False)
    result.guessed = any(value.guessed for value in inputs)
    return result
