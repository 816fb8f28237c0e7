"""A lowered module that is called as its model is: inputs and outputs in the model's structures."""

import operator

from keras_dawn.native.lowering.names import identifier

import keras
import torch


def call_like_the_model(module, inputs, outputs):
    """Lets a lowered module take and return structures in place of tensors one by one.

    Args:
        module: `LoweredModule` from flat tensors to flat tensors, without statistics and masks.
        inputs, outputs: structures of lists, tuples and dicts, with the flat tensors' numbers.
    """
    graph = module.graph
    if inputs != 0:
        _take(graph, inputs)
    if outputs != 0:
        (output,) = (node for node in graph.nodes if node.op == "output")
        (flat,) = output.args
        flat = flat if isinstance(flat, (tuple, list)) else (flat,)
        output.args = (keras.tree.map_structure(lambda number: flat[number], outputs),)
    graph.lint()
    module.recompile()


def _take(graph, structure):
    """Puts one look at what the module is called with in the place of the placeholders."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    names = [f"input_{number}" for number in range(len(placeholders))]
    if isinstance(structure, dict):
        for key, number in structure.items():
            if isinstance(number, int):
                names[number] = identifier(str(key))
    with graph.inserting_before(placeholders[0]):
        given = graph.placeholder("*inputs")
        flat = graph.call_function(in_order, (given, structure))
    with graph.inserting_after(flat):
        for number, node in reversed(list(enumerate(placeholders))):
            one = graph.create_node(
                "call_function", operator.getitem, (flat, number), name=names[number]
            )
            node.replace_all_uses_with(one)
            graph.erase_node(node)


def in_order(given, structure):
    """The tensors that a module is called with, as a list in the order of its inputs.

    Args:
        given: tuple of the call's arguments: one structure, or the tensors one by one.
        structure: lists, tuples and dicts with the tensors' numbers.

    Raises:
        TypeError: another structure.

    Example:
        >>> a, b = torch.zeros(1), torch.ones(1)
        >>> [float(x) for x in in_order(({"b": b, "a": a},), {"a": 0, "b": 1})]
        [0.0, 1.0]
    """
    count = _count(structure)
    if len(given) == count and not any(map(_is_container, given)):
        return list(given)
    found = [None] * count
    if len(given) != 1 or not _fill(found, given[0], structure):
        kinds = ", ".join(_kind(x) for x in given)
        raise TypeError(
            f"Expected the inputs as the model takes them, {_shown(structure)}, or its {count} "
            f"tensors one by one; got {kinds or 'nothing'}."
        )
    return found


def _fill(found, given, structure):
    """Puts tensors where a structure says; returns whether they have that structure."""
    if isinstance(structure, int):
        found[structure] = given
        return not _is_container(given)
    if isinstance(structure, dict):
        if not isinstance(given, dict) or given.keys() != structure.keys():
            return False
        return all(_fill(found, given[key], part) for key, part in structure.items())
    if not isinstance(given, (list, tuple)) or len(given) != len(structure):
        return False
    return all(_fill(found, one, part) for one, part in zip(given, structure, strict=True))


def _is_container(given):
    return isinstance(given, (list, tuple, dict))


def _count(structure):
    if isinstance(structure, int):
        return 1
    parts = structure.values() if isinstance(structure, dict) else structure
    return sum(_count(part) for part in parts)


def _shown(structure):
    if isinstance(structure, int):
        return "tensor"
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{k!r}: {_shown(part)}" for k, part in structure.items()) + "}"
    return "[" + ", ".join(_shown(part) for part in structure) + "]"


def _kind(given):
    if isinstance(given, dict):
        return "{" + ", ".join(f"{key!r}: {_kind(part)}" for key, part in given.items()) + "}"
    if isinstance(given, (list, tuple)):
        return "[" + ", ".join(_kind(part) for part in given) + "]"
    return "tensor" if isinstance(given, torch.Tensor) else type(given).__name__
