"""Whether the settings of a loss, a metric or a schedule are those of the last look."""

from operator import is_


class Unchanged:
    """Notices that an attribute of an object was assigned, added or taken away.

    What a step decides from settings need not be decided again while this holds. Attributes are
    compared as the objects they are: a list or a dict that is changed inside counts as unchanged,
    but for the dicts named here.

    Args:
        thing: object with attributes.
        dicts: names of attributes that are dicts, whose values are looked at, too.
    """

    def __init__(self, thing, *dicts):
        self._thing = thing
        self._dicts = dicts
        self._known = None

    def __call__(self):
        """Whether all is as it was at the last call; false at the first one."""
        own = vars(self._thing)
        looked = [own, *(own[name] for name in self._dicts if name in own)]
        known = self._known
        if known is not None and len(known) == len(looked):
            for now, (names, values) in zip(looked, known, strict=True):
                if list(now) != names or not all(map(is_, now.values(), values)):
                    break
            else:
                return True
        self._known = [(list(one), list(one.values())) for one in looked]
        return False
