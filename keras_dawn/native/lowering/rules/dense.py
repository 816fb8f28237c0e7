"""Dense layers."""

from keras_dawn.native.lowering.dtypes import result_type
from keras_dawn.native.lowering.layouts import AS_IS, DENSE
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.activations import activate
from keras_dawn.native.lowering.values import LoweringError

import torch
from keras import layers


@rule(layers.Dense)
def dense(builder, layer, inputs, call):
    # Where a gradient arrives in the variable's own tensor, a view of it costs more than it saves.
    as_it_is = builder.views is None and inputs[0].rank == 2
    weight = builder.parameter(layer.kernel, AS_IS if as_it_is else DENSE, layer.compute_dtype)
    # Integers are cast as Keras's matmul does it.
    value = builder.to(inputs[0], result_type(inputs[0].dtype, layer.compute_dtype))
    if value.dtype != layer.compute_dtype:
        raise LoweringError(f"of {inputs[0].dtype}")
    bias = None if layer.bias is None else builder.parameter(layer.bias, AS_IS, layer.compute_dtype)
    x = builder.keras_order(value)
    if not as_it_is:
        node = builder.call(torch._C._nn.linear, x, weight, bias, name=call.name)
    elif bias is None:
        node = builder.call(torch.mm, x, weight, name=call.name)
    else:
        node = builder.call(torch.addmm, bias, x, weight, name=call.name)
    return activate(builder, value.with_node(node, torch_order=False), layer, call)
