"""Functions of torch's in Python of the user's: themselves, on tensors in Keras's order."""

from keras_dawn.foundation.keras_torch_calls import TorchCall, dtype_of, filled_in
from keras_dawn.native.lowering.keras_calls import WRITABLE
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value

import keras


@rule(TorchCall)
def torch_call(builder, operation, inputs, call):
    if any(value.guessed for value in inputs) or len(inputs) != len(call.shapes):
        raise LoweringError("an input whose dtype is known at run time only")
    nodes = [builder.keras_order(value) for value in inputs]
    args, kwargs = filled_in(operation.arguments, nodes)
    if not all(isinstance(part, WRITABLE) for part in keras.tree.flatten((args, kwargs))):
        raise LoweringError("arguments that code cannot say")
    if "input" in kwargs:  # torch's name of the first one, which is where passes look for it
        args = [kwargs.pop("input"), *args]
    node = builder.call(operation.function, *args, name=call.name, **kwargs)
    # The dtypes are those that the rules before have given, not those that Keras expected.
    pairs = zip(inputs, call.shapes, strict=True)
    symbols = [keras.KerasTensor(shape, value.dtype) for value, shape in pairs]
    return Value(node, len(call.output.shape), dtype_of(operation, symbols))
