"""Layers whose kernel is divided by its largest singular value before each step."""

from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.wrappers import inside
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.unit_vectors import of_length_one

import torch
from keras import layers
from torch.fx.node import has_side_effect


@rule(layers.SpectralNormalization)
def spectral_normalization(builder, layer, inputs, call):
    inner, kernel = layer.layer, layer.kernel
    if call.training and id(kernel) in builder.leaves:
        raise LoweringError("its kernel is used before it is divided")
    if layer.compute_dtype != kernel.dtype:
        raise LoweringError(f"a kernel of {kernel.dtype}, read in {layer.compute_dtype}")
    before = builder.mark()[0]
    result = inside(builder, inner, inputs[0], call)
    if call.training:
        if id(kernel) not in builder.leaves:
            raise LoweringError("its kernel is not one of the model's trainable weights")
        builder.changes(kernel, layer.vector_u)
        name, leaf = builder.leaves[id(kernel)]
        # The division goes before the layer's own nodes, which read the kernel.
        with builder.graph.inserting_after(before):
            weight = builder.graph.get_attr(name)
        builder.share(layer.vector_u, AS_IS)
        vector_name, _ = builder.leaves[id(layer.vector_u)]
        with builder.graph.inserting_after(weight):
            vector = builder.graph.get_attr(vector_name)
        with builder.graph.inserting_after(vector):
            order, shape = _way_back(leaf, kernel)
            rounds = int(layer.power_iterations)
            arguments = (weight, vector, order, shape, rounds)
            divided = builder.call(divide_by_norm, *arguments, name=call.name)
        with builder.graph.inserting_after(divided):
            copy = builder.call(torch.clone, weight)
        # The next call divides the kernel again, while this one's gradients still need theirs.
        for node in list(builder.graph.find_nodes(op="get_attr", target=name)):
            if node is not weight:
                node.replace_all_uses_with(copy)
    return builder.to(result, inputs[0].dtype)


def _way_back(leaf, kernel):
    """The shape and permutation that make a Keras kernel of the module's parameter."""
    transform, shape = leaf.transform, tuple(kernel.shape)
    if transform.permutation is None:
        return tuple(range(len(shape))), shape
    permutation = transform.permutation
    order = tuple(permutation.index(axis) for axis in range(len(shape)))
    return order, tuple(shape[axis] for axis in permutation)


@has_side_effect
def divide_by_norm(weight, vector, order, shape, rounds):
    """Divides a kernel by an estimate of its largest singular value, where it is.

    Args:
        weight: tensor, changed; `weight.view(shape).permute(order)` is Keras's kernel.
        vector: `(1, filters)`, the estimate of a singular vector, changed.
        order, shape: tuples of int.
        rounds: int, how often the estimate is improved.
    """
    with torch.no_grad():
        matrix = weight.detach().reshape(shape).permute(order).flatten(0, -2)
        other, found = None, vector.detach()
        for _ in range(rounds):
            other = of_length_one(found @ matrix.T)
            # Power iteration: each round brings both vectors nearer to those of the largest value.
            found = of_length_one(other @ matrix)
        norm = (other @ matrix @ found.T).reshape(())
        some = weight.any()  # Keras leaves a kernel of zeros alone
        weight.copy_(torch.where(some, weight / norm, weight))
        vector.copy_(torch.where(some, found, vector))
