"""What data for `fit` keeps in itself: random generators, shuffled lists, counts of epochs."""

import types

from keras_dawn.foundation import held_parts
from keras_dawn.foundation.data_walk import DataWalk
from keras_dawn.foundation.held_lists import HeldDict, HeldError, HeldList
from keras_dawn.foundation.held_states import maker_of
from keras_dawn.foundation.held_tables import HeldTable
from keras_dawn.foundation.held_values import Budget, HeldArray, HeldBuffer, HeldSet, HeldValue
from keras_dawn.foundation.new_parts import LateParts, NewParts, encoded, put_new
from keras_dawn.foundation.plain_state import from_plain, to_plain
from keras_dawn.foundation.random_state import generator_state

_KINDS = {kind.kind: kind for kind in (
    HeldArray, HeldBuffer, HeldDict, HeldList, HeldSet, HeldTable, HeldValue
)}  # fmt: skip
_NEW, _GONE, _LINKS = "__new__", "__gone__", "__links__"
_CONTAINERS = ("list", "dict", "set", "table")
_SETTABLE = ("attribute", "item", "closure", "global")  # ways that something can be put


class SourceState:
    """The state of a data source: all that changes in it from one pass to another.

    Found are random generators (torch's, NumPy's, Python's, Keras's seeds), what has `state_dict`
    and `load_state_dict`, and numbers, strings, arrays, tensors, lists, dicts, sets and tables
    among all that the source holds: in attributes and slots, containers, closures, partials and
    classes, under the names that the user's functions look up in their modules and in others of the
    user's. Each look goes the whole way anew, so that what was replaced is seen too. Those are kept
    that have changed since this object was made.

    Not looked at: what goes on within the entries of a list or a dict of mere data with more than
    64 of them (which they are, and in what order, is), the values between 65,536 of an array
    larger than 16 MiB, what is mapped from a file, where in a file that was opened later it is
    read, what installed packages keep to themselves, which generators NumPy's have spawned, what
    `functools.lru_cache` and `threading.local` keep, in which order a set gives its entries, and
    what a list or a dict fills with that is
    taken for a cache (images, or more than 64 MiB of arrays; a warning names it).

    Args:
        source: what was given to `fit`, or `None`.
        what: str, what messages call it.

    Attributes:
        reads_on: bool, whether an iterator is among it, whose place cannot be saved.
        generators: set of str, which of the names that `now` uses are random generators.
        unknown: dict of str to str, what cannot be followed, and why.
    """

    def __init__(self, source, what="the data"):
        self._source, self._what, budget = source, what, Budget()
        walk = DataWalk(source)
        self.reads_on, self.unknown = walk.reads_on, walk.unknown
        self._first, self._held, self._named = walk, {}, {}
        self._late = LateParts(_KINDS, budget)
        self._sorts = {name: (n.kind, _sort(n.value)) for name, n in walk.nodes.items()}
        for name, node in walk.nodes.items():
            if holder := _KINDS.get(node.kind):
                self._held[name] = holder(node.value, budget)
            if node.kind == "array" and node.step and node.step[0] != "place":
                # Known by where it is: one that is replaced need not be held on to. Those in
                # lists are, by the lists.
                node.value = None
            elif node.kind != "value":
                self._named[id(node.value)] = name
        nodes = walk.nodes.values()
        self.generators = {n.name for n in nodes if n.state and generator_state(n.value)}

    @property
    def objects(self):
        """What the data held when this was made, but for arrays and mere values."""
        nodes = self._first.nodes.values()
        return [node.value for node in nodes if node.kind != "value" and node.value is not None]

    def check(self):
        """Raises `ValueError` for data of which something cannot be followed."""
        for name, why in self.unknown.items():
            raise ValueError(
                f"ResumeTraining cannot follow {name or 'the data'} in the data: it is {why}. Give "
                "the object that holds it `state_dict` and `load_state_dict`, or leave it out."
            )

    def now(self):
        """What has changed, as plain data, by the names on the way to it."""
        walk = DataWalk(self._source, self._named)
        found, new, late = {}, NewParts(), set()
        for name, node in walk.nodes.items():
            owner = node.owner.name if node.owner is not None else None
            if owner in new.whole:
                new.whole.add(name)
            elif owner in late:
                late.add(name)
                self._late.check(node)
            elif name in self._sorts and self._sorts[name][0] == node.kind:
                self._take(node, found)
            elif not new.take(node, found):
                late.add(name)
                self._late.check(node)
        more = {_NEW: new.parts, _GONE: self._gone(walk), _LINKS: self._changed_links(walk)}
        return found | {name: part for name, part in more.items() if part}

    def put_back(self, state):
        """Puts back what `now` returned, in another process too."""
        state = dict(state)
        new, gone = state.pop(_NEW, {}), state.pop(_GONE, [])
        walk = self._put_links(state.pop(_LINKS, {}))
        self._put_gone(set(self._gone(walk)) - set(gone))
        put_new(new, walk)
        for name in gone:
            if name in walk.nodes:
                held_parts.remove_part(walk.nodes[name].owner.value, walk.nodes[name].step)
        # Containers first: what is in them is found by what they hold.
        whole = set(new) - set(state)
        put = set(whole)
        for containers in (True, False):
            walk = DataWalk(self._source, self._named)
            for name, node in walk.nodes.items():
                if node.owner is not None and node.owner.name in whole:
                    whole.add(name)
                    put.add(name)
                its_turn = name not in put and (node.kind in _CONTAINERS) is containers
                if its_turn and self._put(node, state):
                    put.add(name)
        if missing := [name for name in state if name not in put]:
            raise ValueError(
                f"There is no {missing[0] or 'state of its own'} in {self._what} now, and there "
                f"was when the training was cut off. Give {self._what} that the training began "
                "with, and make what it holds in `__init__`."
            )

    def _take(self, node, found):
        name, value = node.name, node.value
        if node.kind == "state":
            found[name] = to_plain(node.state[0](), f"the data ({name})")
        elif _sort(value) != self._sorts[name][1] and name not in self._held:
            raise ValueError(
                f"{name} in the data is another {type(value).__name__} than the "
                f"{self._first.nodes[name].value!r} that it was when the training began, and a "
                "checkpoint cannot hold which. Keep all that are used from the beginning, or give "
                "what holds it `state_dict` and `load_state_dict`."
            )
        elif self._is_by_itself(node) and self._held[name].changed(value):
            content = encoded(self._held[name], node)
            found |= {} if content is None else {name: [node.kind, content]}

    def _is_by_itself(self, node):
        """Whether a change is seen here, and not in what holds it or what it holds."""
        if node.kind == "dict":
            return node.long or self._first.nodes[node.name].long
        in_list = node.kind == "value" and node.step and node.step[0] == "place"
        return node.name in self._held and not (in_list and not isinstance(node.owner.value, tuple))

    def _gone(self, walk):
        gone = []
        for name, node in self._first.nodes.items():
            owner = walk.nodes.get(node.owner.name) if node.owner is not None else None
            if name not in walk.nodes and owner is not None and not owner.long:
                how, key = node.step
                if how == "item" and isinstance(owner.value, dict) and key not in owner.value:
                    gone.append(name)
                if how == "attribute" and not hasattr(owner.value, key):
                    gone.append(name)
        return gone

    def _changed_links(self, walk):
        """Where known things are now that were elsewhere at first: `[owner, how, key, name]`."""
        return {
            way: [owner.name, *step, name]
            for way, (owner, step, name) in walk.links.items()
            if step and step[0] in _SETTABLE and name in self._sorts and self._at_first(way) != name
        }

    def _at_first(self, way):
        return self._first.links[way][2] if way in self._first.links else way

    def _put_gone(self, names):
        """What there was at first, and is not there any more."""
        for name in names:
            node = self._first.nodes[name]
            if node.step[0] == "item":  # with all keys, in their order
                self._held[node.owner.name].put_first(node.owner.value, None)
            elif node.kind == "array":
                self._held[name].put_first(None, node.replace)
            else:
                node.replace(node.value)

    def _put_links(self, links):
        walk = DataWalk(self._source, self._named)
        for owner, how, key, name in links.values():
            holder = self._first.nodes[owner].value
            held_parts.put_part(holder, (how, key), self._first.nodes[name].value)
        for way, (owner, how, key, _) in self._changed_links(walk).items():
            name = self._at_first(way)
            if way not in links and name in self._first.nodes:
                first, holder = self._first.nodes[name], self._first.nodes[owner].value
                held_parts.put_part(holder, (how, key), first.value)
        return DataWalk(self._source, self._named)

    def _put(self, node, state):
        """Puts a node's part of the state; whether there was one."""
        name = node.name
        kind = self._sorts[name][0] if name in self._sorts else None
        if name in state:
            if node.kind == "state":
                node.state[1](from_plain(state[name]))
                return True
            if node.kind != kind and kind in _CONTAINERS:
                node.replace(self._first.nodes[name].value)
                node.value = self._first.nodes[name].value
            try:
                self._held[name].put(node.value, state[name][1], node.replace)
            except HeldError as error:
                raise ValueError(f"The {kind} {name} in the data {error}") from None
            return True
        makes = node.kind == "state" and kind != "state" and maker_of(node.value) is not None
        if node.kind in ("state", "object") and not makes:
            return False
        if kind is None:  # it came up later, in what there was
            if node.owner is not None and node.owner.name in self._sorts:
                held_parts.remove_part(node.owner.value, node.step)
        elif kind in _CONTAINERS and node.kind != kind:
            node.replace(self._first.nodes[name].value)
        elif (kind in _KINDS and node.kind != kind) or (
            self._is_by_itself(node) and self._held[name].changed(node.value)
        ):
            self._held[name].put_first(node.value, node.replace)
        return False


def _sort(value):
    """What has to stay as it is, as no checkpoint can hold it."""
    if isinstance(value, types.FunctionType):
        return value.__code__
    if isinstance(value, (range, slice, frozenset)):
        return repr(value)
    return value if isinstance(value, type) else type(value)
