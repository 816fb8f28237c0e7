"""What the data did not hold when the training began: attributes and entries that came up."""

import collections
import io
import warnings

from keras_dawn.foundation import held_parts
from keras_dawn.foundation.held_lists import CACHE_BYTES, CacheError, bytes_of
from keras_dawn.foundation.held_states import made, maker_of
from keras_dawn.foundation.held_values import array_of, plain_array
from keras_dawn.foundation.plain_state import alike, from_plain, to_plain

_MADE = {
    "list": list, "set": set, "deque": collections.deque, "dict": dict, "tuple": tuple,
    "bytearray": bytearray,
}  # fmt: skip


class NewParts:
    """Collects what is new at one look.

    Attributes:
        parts: dict from names to `[owner, how, key, maker, content]`.
        whole: set of names, of what is saved with all that it holds.
    """

    def __init__(self):
        self.parts, self.whole = {}, set()

    def take(self, node, found):
        """Whether a node can be saved as a whole, or is a random generator that can be made."""
        name = node.name
        if node.step[0] not in ("attribute", "item", "closure", "global", "place"):
            return False
        way = [node.owner.name, *node.step]
        if node.step[0] == "place" and not isinstance(node.owner.value, tuple):
            self.whole.add(name)  # the list's
            return True
        if node.kind == "state":
            if maker_of(node.value) is None:
                return False
            found[name] = to_plain(node.state[0](), f"the data ({name})")
            self.parts[name] = [*way, maker_of(node.value), None]
            return True
        content = _whole(node)
        if content is not None:
            self.whole.add(name)
            self.parts[name] = [*way, None, content]
        return content is not None


class LateParts:
    """What came up as an object of its own: it may stay as it is, but not change.

    Args:
        kinds: dict from kinds of nodes to the classes that hold what such a node is.
        budget: `Budget` of what they hold.
    """

    def __init__(self, kinds, budget):
        self._kinds, self._budget, self._first = kinds, budget, {}

    def check(self, node):
        """Raises `ValueError` for a node that is another one than when it was first looked at."""
        name, kind = node.name, node.kind
        # A file is opened late for its workers' sake, and read at the places that are asked for.
        if (kind not in self._kinds and kind != "state") or isinstance(node.value, io.IOBase):
            return
        value = to_plain(node.state[0](), name) if kind == "state" else node.value
        if name not in self._first:
            first = value if kind == "state" else self._kinds[kind](value, self._budget)
            self._first[name] = first
            return
        before = self._first[name]
        if not alike([before, value]) if kind == "state" else before.changed(value):
            raise ValueError(
                f"{name} in the data changes, and what holds it was made in the course of the "
                "training, so that a checkpoint cannot hold it. Make it in `__init__`, or give "
                "what holds it `state_dict` and `load_state_dict`."
            )


def put_new(parts, walk):
    """Puts what `NewParts` collected into the data that a `DataWalk` has found."""
    for name, (owner, how, key, maker, content) in parts.items():
        if owner not in walk.nodes:
            raise ValueError(
                f"{name} in the data came up in the course of the training, and {owner} is not "
                "there now to hold it. Make it in `__init__`."
            )
        holder, there = walk.nodes[owner].value, walk.nodes.get(name)
        if maker is None:
            kind, held = content
            part = array_of(held) if kind == "array" else from_plain(held)
            held_parts.put_part(holder, (how, key), _MADE[kind](part) if kind in _MADE else part)
        elif there is None or maker_of(there.value) != maker:
            held_parts.put_part(holder, (how, key), made(maker))


def encoded(held, node):
    """What a container or an array holds, as plain data; `None` of what is taken for a cache.

    Raises:
        ValueError: what no checkpoint can hold.
    """
    try:
        return held.encoded(node.value, f"the data ({node.name})")
    except CacheError:
        warnings.warn(
            f"{node.name} in the data fills with images or arrays, and is taken for a cache: "
            "checkpoints do not hold it. If it is more, give what holds it `state_dict` and "
            "`load_state_dict`.",
            stacklevel=2,
        )
        return None
    except TypeError as error:
        raise ValueError(
            f"{node.name} in the data has changed in a way that a checkpoint cannot hold: {error}"
        ) from None


def _whole(node):
    value, name = node.value, node.name
    if node.kind in ("object", "table") and not isinstance(value, tuple):
        return None
    if bytes_of(value) > CACHE_BYTES and node.kind != "array":
        return None
    kind = node.kind if node.kind in ("value", "array") else type(value).__name__
    if kind not in ("value", "array", *_MADE):
        return None
    try:
        if kind == "array":
            return [kind, plain_array(value, name)]
        held = list(value) if kind in ("set", "deque") else value
        held = bytes(value) if kind == "bytearray" else held
        return [kind, to_plain(held, name)]
    except TypeError:
        return None
