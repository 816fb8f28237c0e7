"""States of what has none to give: attributes of the user's objects, where those are data."""

import hashlib
import weakref

from keras_dawn.foundation.held_code import (
    cell_of,
    closure_of,
    has_name,
    put_name,
    remove_name,
    value_of,
)
from keras_dawn.foundation.keras_attributes import own_attributes
from keras_dawn.resume.attribute_values import (
    decoded,
    encoded,
    holds_arrays,
    is_data,
    mark,
    size,
)

_SMALL = 1000  # values of an attribute of which a copy is held


_BEGAN = weakref.WeakKeyDictionary()  # what objects began with that trained and have not ended


def _of_owner(owner):
    """Where `_BEGAN` has an object's own, by kind; a dict for nothing where it cannot have it."""
    if type(owner).__hash__ is not object.__hash__:
        return {}
    try:
        return _BEGAN.setdefault(owner, {})
    except TypeError:  # no weak reference can be made to it
        return {}


class PlainAttributes:
    """`state_dict` and `load_state_dict` for an object of the user's that has neither.

    Kept are those of its attributes that have changed, come up or gone since the training began:
    numbers, strings, arrays, tensors, random generators, and lists, tuples, dicts, sets and deques
    of those. What stays as it was, such as settings and the time at which this process began, is
    this process's. Where the same process tries again, after an error or Ctrl-C, the training began
    with its first attempt. If anything else has changed among them, such as a file that was opened
    since, none of them is kept, as they may belong together. What began as another value than in
    the process before, such as a setting that is counted down, or a time, is not put back, but for
    arrays and random generators, which may begin with other random numbers.

    Args:
        owner: object, such as a callback whose `on_train_begin` has been called.
        ignored: names of attributes that are not its own.

    Attributes:
        kept, lost, other, unsaved: lists of str: what `load_state_dict` has put back, what stood in
            the way of it, what began as another value, and what is another value than when an
            earlier attempt of this process began, but not in the checkpoint.
        is_held: callable, whether the object is where it was found, and not replaced by another.
        unseen: list of str, what changes in it would not be seen (`OwnObjects` fills it).
    """

    def __init__(self, owner, ignored=()):
        self.owner, self._ignored = owner, ignored
        self.kept, self.lost, self.other, self.unseen, self.unsaved = [], [], [], [], []
        self.is_held = lambda: True
        now = self._present = self._look()
        self._left = self._attempts().pop((type(self), "left"), None)
        self._marks, self._free, self._first = self._attempts().setdefault(type(self), now)
        # A file that is opened anew, or the like, is this attempt's.
        others = {name: mark for name, mark in now[0].items() if name not in now[2]}
        self._marks = {name: self._marks[name] for name in self._first} | others

    def _look(self):
        own = self.attributes()
        marks = {name: mark(value) for name, value in own.items()}
        free = {name for name, value in own.items() if holds_arrays(value)}
        first = {
            name: encoded(value)
            for name, value in own.items()
            if size(value) <= _SMALL and is_data(value)
        }
        return marks, free, first

    def begin(self):
        """Takes what there is now for what the training began with, whatever was tried before."""
        self._marks, self._free, self._first = self._attempts()[type(self)] = self._look()

    def leave(self):
        """Notes that all that has changed is saved: what differs after this is the script's."""
        own = self.attributes().items()
        self._attempts()[type(self), "left"] = {name: mark(value) for name, value in own}

    def end(self):
        """Lets a further training of the object begin with what it has then."""
        self._attempts().pop(type(self), None)

    def _attempts(self):
        return _of_owner(self.owner)

    def held(self):
        """The object's own attributes by name, as they are by now."""
        own = own_attributes(self.owner)
        return {name: value for name, value in own.items() if name not in self._ignored}

    def attributes(self):
        """Those of them that are kept."""
        return self.held()

    def like(self, part, name):
        """The same for an object that this one holds."""
        return PlainAttributes(part)

    def state_dict(self):
        """What stands in the way of keeping the attributes, by name."""
        if not self.is_held():
            return {"lost": ["replaced by another object"]}
        changed = self._changed().items()
        return {"lost": [f"{name} ({type(v).__name__})" for name, v in changed if not is_data(v)]}

    def rank_state_dict(self):
        """What has changed, on this rank."""
        changed = self._changed()
        if not (self.is_held() and all(map(is_data, changed.values()))):
            return {}
        return {
            "kept": {name: encoded(value) for name, value in changed.items()},
            "first": {name: self._first_mark(name) for name in changed},
            **self._of_gone(),
        }

    def load_state_dict(self, state):
        """Takes up what `state_dict` and `rank_state_dict` returned, merged."""
        if "kept" not in state:
            self.lost = state["lost"] or ["values that differ between the ranks"]
            return
        own, first = self.attributes(), state["first"]
        self.other = [
            name
            for name in state["kept"]
            if first[name] != self._first_mark(name) or self._is_of_the_script(name)
        ]
        kept = {name: part for name, part in state["kept"].items() if name not in self.other}
        gone = state.get("gone", ())
        # What has changed since, and had not been at that time, is as this attempt began.
        marks, _, begun = self._present
        names = {*own, *begun} - {*state["kept"], *gone}
        since = {n for n in names if n not in own or mark(own[n]) != marks.get(n)}
        again = {name: begun[name] for name in since if name in begun}
        # Who has changed it before, an attempt that failed or the script, nobody knows.
        self.unsaved = [name for name in self._changed() if name in names - since]
        for name, saved in (again | kept).items():
            old = own.get(name)
            new = decoded(saved, old)
            if new is not old or name not in own:  # what is read-only may hold what is not
                self._put(name, new)
        for name in set(gone) & set(own):
            self._remove(name)
        self.kept = list(kept)

    def _is_of_the_script(self, name):
        """Whether an attribute was set after an attempt that ended with a checkpoint."""
        if self._left is None:
            return False
        own = self.attributes()
        return (mark(own[name]) if name in own else None) != self._left.get(name)

    def _put(self, name, value):
        setattr(self.owner, name, value)

    def _remove(self, name):
        delattr(self.owner, name)

    def _gone(self):
        """Those that there were when the training began, and that were deleted since."""
        held = self.held()
        return [name for name in self._marks if name not in held]

    def _of_gone(self):
        gone = self._gone()
        return {"gone": gone} if gone else {}

    def _first_mark(self, name):
        """What tells the value with which an attribute began, in another process too."""
        if name not in self._marks or name in self._free:
            return None
        return hashlib.sha256(repr(self._marks[name]).encode()).hexdigest()

    def _changed(self):
        return {
            name: value
            for name, value in self.attributes().items()
            if self._marks.get(name) != mark(value)
        }


class NamesOfFunction(PlainAttributes):
    """The same for what a function of the user's has in its closure and looks up in its module.

    Args:
        owner: function.
        names: list of str, of those that `names_of` gives.
    """

    def __init__(self, owner, names):
        self._names = names
        super().__init__(owner)

    def held(self):
        owner = self.owner
        known = {name: value_of(owner, name) for name in self._names if has_name(owner, name)}
        return known | closure_of(owner)

    def _put(self, name, value):
        if name in self.owner.__code__.co_freevars:
            cell_of(self.owner, name).cell_contents = value
        else:
            put_name(self.owner, name, value)

    def _remove(self, name):
        if name in self.owner.__code__.co_freevars:
            del cell_of(self.owner, name).cell_contents
        else:
            remove_name(self.owner, name)


class NamesOfClass(PlainAttributes):
    """The same for the attributes of a class of the user's, functions and the like apart."""

    def held(self):
        return {
            name: value
            for name, value in vars(self.owner).items()
            if not (name.startswith("__") or hasattr(type(value), "__get__"))
        }
