"""Copies of lists and dicts that cannot be changed."""


def frozen(part):
    """A copy of a list, tuple or dict, at any depth: `TypeError` where it is changed."""
    if isinstance(part, dict):
        return _FrozenDict({key: frozen(each) for key, each in part.items()})
    if isinstance(part, list):
        return _FrozenList(frozen(each) for each in part)
    if type(part) is tuple:
        return tuple(frozen(each) for each in part)
    return part


def _refuse(*args, **kwargs):
    raise TypeError("a list or dict of the layer's is changed")


class _FrozenList(list):
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse


class _FrozenDict(dict):
    pop = popitem = clear = update = setdefault = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse
