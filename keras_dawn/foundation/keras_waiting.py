"""Variables that are brought up to date when somebody reads or writes them."""

import functools

_ATTRIBUTE = "_keras_dawn_waiting"  # of a variable that waits: the function that is called


def wait_to_be_read(variables, bring_up_to_date):
    """Calls a function once, before the memory of any of some variables is next looked at.

    Until then the variables have a class of the same name with another `_value`, which is what
    Keras, too, comes to a variable's memory by; afterwards they have their own class again.

    Args:
        variables: list of Keras variables. What they waited for before is done now.
        bring_up_to_date: callable without arguments. It may read and write the variables.
    """
    for variable in variables:
        bring_up(variable)

    def once():
        for variable in variables:
            del vars(variable)[_ATTRIBUTE]
            variable.__class__ = type(variable).__mro__[1]
        bring_up_to_date()

    for variable in variables:
        vars(variable)[_ATTRIBUTE] = once
        variable.__class__ = _waiting(type(variable))


def bring_up(variable):
    """Does what a variable waits for, if it waits."""
    waits_for = vars(variable).get(_ATTRIBUTE)
    if waits_for is not None:
        waits_for()


@functools.cache
def _waiting(kind):
    def read(self):
        bring_up(self)
        return self._value

    def write(self, value):
        bring_up(self)
        self._value = value

    def reduce(self, protocol):  # who copies or pickles it goes past its attributes
        bring_up(self)
        return self.__reduce_ex__(protocol)

    names = {"_value": property(read, write), "__reduce_ex__": reduce}
    names |= {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind,), names)
