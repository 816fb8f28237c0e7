"""Settings of data: transforms, samplers, workers, numbers in objects of the user's."""

import contextlib
import os
import re
import types

from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import InOrder
from keras_dawn.data.transforms import Transform
from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.data_walk import DataWalk
from keras_dawn.foundation.keras_attributes import is_of_libraries, names_of_libraries
from keras_dawn.foundation.users_code import is_users_class, is_users_function
from keras_dawn.resume.data_contents import put_back_names, ways
from keras_dawn.resume.loader_workers import of_phase
from keras_dawn.resume.setting_words import words_of

from torch.utils.data import DataLoader, Sampler

_ELSEWHERE = ("global", "class")  # ways to what need not be the data's own
_CONTAINERS = (list, tuple, dict)
_OF_OURS = ("image_size", "rectangular")  # of this package's data, beside transforms and sampler
_OF_SAMPLERS = ("seed", "shuffle", "replacement")  # of torch's; others follow the number of ranks
_OF_NO_EFFECT = ("verbose", "debug", "name")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MOST = 300


def describe_data_settings(iterator, validation):
    """What data and that to validate on are set to: `{which: {way: [label, words, decides]}}`.

    Of this package's data the transforms, the sampler and the sizes, of a torch `DataLoader` its
    workers, of objects of the user's and of torchvision's transforms the numbers and short strings.
    `decides` says whether it decides which images an epoch has and how they look, for certain.
    What differs between the ranks is left out, as it does of `describe_contents`.

    Args:
        iterator: the `EpochIterator` of the `fit`, as the training begins.
        validation: what `fit` validates on, or `None`.
    """
    source = None if keras_fit.arrays_of(iterator) is not None else keras_fit.data_of(iterator)[1]
    own = {"data": settings_of_data(source), "validation": settings_of_data(validation)}
    if not current().several:
        return own
    every = gather(own)
    return {
        which: {w: s for w, s in found.items() if all(o[which].get(w) == s for o in every)}
        for which, found in own.items()
    }


def settings_of_data(source):
    """The same of one data source, or `None`; of a plan's that of its present phase."""
    found = {}
    if source is not None and not isinstance(source, (tuple, list)):
        _collect(DataWalk(of_phase(source)), "", found)
    return found


def changed_data_settings(state, now, which):
    """`(words, decides)` of each setting of the data that is another one than before.

    Args:
        state: dict, the checkpoint; what it puts back may begin as it likes.
        now: what `describe_data_settings` returned in this process.
        which: `"data"` or `"validation"`.
    """
    before, now = state["description"].get("data_settings"), now[which]
    if before is None:  # of an earlier version
        return []
    before, back = before[which], put_back_names(state, which)
    changed = []
    for way in dict.fromkeys([*before, *now]):
        old, new = before.get(way), now.get(way)
        if old == new or back & ways(way):
            continue
        if old is None or new is None:
            label, _, decides = old or new
            if label is None:  # an object; numbers come and go with what holds them
                changed.append((f"{way} {_text(old)} → {_text(new)}", decides))
        elif old[0] == new[0]:
            changed.append((f"{old[0] or way} {_between(old[1], new[1])}", old[2] or new[2]))
    return changed


def _text(setting):
    return "none" if setting is None else setting[1]


def _between(old, new):
    """From one to the other in words; of lists what is in one of them only."""
    if isinstance(old, list) and isinstance(new, list):
        gone, come = ([e for e in a if e not in b] for a, b in ((old, new), (new, old)))
        if gone or come:
            old, new = gone, come
        old, new = (", then ".join(entries) or "none" for entries in (old, new))
    return f"{old} → {new}"


def _collect(walk, place, found):
    elsewhere, within = set(), set()
    for name, node in walk.nodes.items():
        owner = node.owner.name if node.owner is not None else None
        if owner in elsewhere or node.step[:1] in ((how,) for how in _ELSEWHERE):
            elsewhere.add(name)
            continue
        if owner in within or isinstance(node.value, Pipeline):
            within.add(name)  # its entries are named in the list of them
        if len(found) < _MOST:
            with contextlib.suppress(Exception):  # an odd object loses its line, not the training
                _take(node, f"{place}{name}", found, name in within)
        ours = type(node.value).__module__.startswith("keras_dawn.") and node.kind == "state"
        if ours and not hasattr(node.value, "state_dict") and hasattr(node.value, "__dict__"):
            _collect(DataWalk(dict(vars(node.value))), f"{place}{name}:" if name else place, found)


def _take(node, way, found, in_transforms):
    value, kind = node.value, type(node.value)
    if isinstance(value, Pipeline):
        found[way] = ["transforms", _of_pipeline(value), True]
    elif isinstance(value, InOrder):
        found[way] = ["sampler", _of_object(value), True]
    elif node.kind == "value":
        _take_value(node, way, found)
    elif isinstance(value, DataLoader) and not kind.__module__.startswith("keras_dawn."):
        found[f"{way}/num_workers".strip("/")] = ["num_workers", str(value.num_workers), False]
    elif way and not in_transforms and node.kind == "object" and _is_looked_into(value):
        found[way] = [None, _name(value), _is_of_order(way)]


def _take_value(node, way, found):
    name, owner = node.step[-1] if node.step else "", node.owner
    while owner is not None and isinstance(owner.value, _CONTAINERS) and owner.owner is not None:
        name, owner = owner.step[-1], owner.owner
    words = words_of(node.value)
    if owner is None or words is None or (isinstance(node.value, str) and os.sep in words):
        return  # files are told by `contents_of`, wherever they are
    holder = owner.value
    if isinstance(holder, InOrder):
        return  # which is described as a whole
    known = () if isinstance(holder, Transform) else names_of_libraries(type(holder))
    if name in _OF_OURS and isinstance(holder, (dict, DataLoader)):
        found[way] = [way, words, True]  # a dict of attributes: this package's data
    elif isinstance(holder, Sampler) and is_of_libraries(type(holder)):
        if name in _OF_SAMPLERS:
            found[way] = [f"{name} of {type(holder).__name__}", words, True]
    elif _is_looked_into(holder) and name not in known:
        found[way] = [f"{way.rpartition('/')[2]} of {_name(holder)}", words, _is_of_order(way)]


def _is_of_order(way):
    """Whether something in the user's data decides its order: of a sampler, or a seed."""
    *above, last = re.split("[/:]", way)
    if last.lower() in _OF_NO_EFFECT:
        return False
    return "seed" in last.lower() or any("sampler" in part for part in above)


def _is_looked_into(value):
    if isinstance(value, types.FunctionType):
        return is_users_function(value)
    return is_users_class(type(value)) or _is_torchvisions(value)


def _is_torchvisions(value):
    return type(value).__module__.startswith("torchvision.transforms")


def _name(value):
    # Other objects may answer any name that they are asked for.
    return value.__qualname__ if isinstance(value, types.FunctionType) else type(value).__name__


def _of_pipeline(pipeline):
    """Its transforms in words, a list of str."""
    several = len(pipeline.by_epoch) > 1
    return [
        f"{_of_object(each)}{f' from epoch {epoch + 1} on' if several else ''}"
        for epoch, row in pipeline.by_epoch.items()
        for each in [pipeline.crops[epoch], *row]
        if each is not None
    ]


def _of_object(value):
    """`RandomFlip(probability=0.5)`; of the user's the name alone, their numbers have ways."""
    name, module = _name(value), type(value).__module__
    if _is_torchvisions(value):
        return _ADDRESS.sub("", " ".join(repr(value).split()))
    if not (module.startswith("keras_dawn.") or isinstance(value, InOrder)):
        return name
    parts = []
    for key, part in vars(value).items():
        stateful = callable(getattr(part, "state_dict", None))
        if not (part is None or stateful or key.startswith("_")):
            words = words_of(part)
            if words is None and callable(part):
                words = _of_object(part)
            parts += [] if words is None else [f"{key}={words}"]
    return f"{name}({', '.join(parts)})"
