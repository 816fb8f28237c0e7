"""All that a data source holds, found anew at each look, by the way that leads to it."""

import collections
import dataclasses

from keras_dawn.foundation import held_code, held_parts
from keras_dawn.foundation.held_states import generators_of_layer, is_without_state, own_state

import keras

_FEW = 64  # entries of a container of mere data that are looked into
_MANY = 5000  # entries of one that holds objects, too
_OBJECTS = 100_000  # objects that are looked into at all
_DATA = ("value", "array", "list", "dict", "set", "buffer", "table")


@dataclasses.dataclass(slots=True)
class Node:
    """One thing that the data holds.

    Attributes:
        name: str, the way to it from the source.
        value: the thing itself.
        kind: `"state"`, or what `held_parts.kind_of` says.
        owner: `Node` that holds it, or `None` of the source.
        step: tuple, the way from there (`held_parts.put_part`).
        state: pair of callables that get and put its state, or `None`.
        long: bool, whether a container is looked at as a whole, not at what is in it.
    """

    name: str
    value: object
    kind: str
    owner: "Node | None" = None
    step: tuple = ()
    state: tuple | None = None
    long: bool = False

    def replace(self, part):
        """Puts another thing in its place."""
        held_parts.put_part(self.owner.value, self.step, part)


class DataWalk:
    """Walks through a data source, breadth first, so that the shortest way names a thing.

    Args:
        source: what was given to `fit`.
        named: dict from the `id` of things to the names they have had from the beginning.

    Attributes:
        nodes: dict of `Node`, by name.
        links: dict from the ways on which known things were found to `(owner, step, name)`.
        unknown: dict from names to what stands in the way of following these.
        reads_on: bool, whether an iterator is among it, whose place cannot be saved.
    """

    def __init__(self, source, named=None):
        self.nodes, self.links, self.unknown, self.reads_on = {}, {}, {}, False
        self._named, self._seen = named or {}, {}
        self._queue = collections.deque([(None, (), source)] if source is not None else [])
        while self._queue:
            self._visit(*self._queue.popleft())

    def _visit(self, owner, step, value):
        way = _joined(owner, step)
        if held_parts.is_plain(value):
            self._add(Node(way, value, "value", owner, step))
            return
        name = self._named.get(id(value), way)
        if way != name or id(value) in self._seen:
            self.links[way] = owner, step, self._seen.get(id(value), name)
        if id(value) in self._seen:
            return
        name = name if name not in self.nodes else way
        self._seen[id(value)] = name
        node = Node(name, value, "state", owner, step, own_state(value))
        if isinstance(value, keras.Layer):
            self._queue += [(node, *part) for part in generators_of_layer(value)]
        if why := held_parts.why_unknown(value):
            self.unknown[name] = why
        elif node.state is not None:
            self._add(node)
        elif held_parts.is_iterator(value) and not hasattr(value, "__dict__"):
            self.reads_on = True  # Python's own, which do not tell where they are
        elif not (is_without_state(value) or held_parts.is_left_alone(value)):
            node.kind = held_parts.kind_of(value)
            self._look_into(node)

    def _look_into(self, node):
        value = node.value
        if node.kind in ("array", "buffer", "set", "table"):
            self._add(node)
            return
        if len(self._seen) > _OBJECTS:
            self.unknown[node.name] = f"one of more than {_OBJECTS} objects"
            return
        self.reads_on |= held_parts.is_iterator(value)
        if isinstance(value, (list, tuple, dict, collections.deque)) or node.kind == "list":
            node.long = self._is_long(node)
        self._add(node)
        if not node.long:
            self._queue += [(node, step, part) for step, part in held_parts.parts_of(value)]

    def _is_long(self, node):
        value = node.value
        if len(value) <= _FEW:
            return False
        parts = list(value.values()) if isinstance(value, dict) else held_parts.entries(value)
        firsts = {kind: next(p for p in parts if type(p) is kind) for kind in set(map(type, parts))}
        others = {kind: part for kind, part in firsts.items() if _is_other(part)}
        if len(parts) <= _MANY and (others or all(hasattr(type(p), "dtype") for p in parts)):
            return False
        for kind, part in others.items():
            inner = DataWalk(part)
            if inner.unknown or inner.reads_on or any(n.state for n in inner.nodes.values()):
                self.unknown[node.name] = (
                    f"more than {_MANY} entries, and a {kind.__name__} among them has a state"
                )
        return True

    def _add(self, node):
        self.nodes[node.name] = node


def _is_other(part):
    """Whether something is more than data: an object, a generator, a function."""
    if held_parts.is_plain(part):
        return False
    if isinstance(part, tuple):
        return any(map(_is_other, part[:8]))
    kind = held_parts.kind_of(part)
    if own_state(part) is not None or held_code.is_code(part):
        return True
    return kind not in _DATA and not held_parts.is_left_alone(part)


def _joined(owner, step):
    if owner is None:
        return ""
    last = str(step[1])
    return f"{owner.name}/{last}" if owner.name else last
