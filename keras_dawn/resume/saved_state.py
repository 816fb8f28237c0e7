"""Which callbacks of the present training have a state that its checkpoints must hold."""

import weakref

_REGISTERED = weakref.WeakKeyDictionary()  # from models to {name: weak reference}


def register(model, callback):
    """Notes, when a training begins, a callback with `state_dict()` and `load_state_dict(state)`.

    It goes under its class's name; further ones of a class get a number, in their order.
    """
    parts = _REGISTERED.setdefault(model, {})
    name, number = type(callback).__name__, 2
    while name in parts and parts[name]() is not callback:
        name, number = f"{type(callback).__name__}-{number}", number + 1
    parts[name] = weakref.ref(callback)


def forget(model):
    """Forgets the callbacks of an earlier training."""
    _REGISTERED.pop(model, None)


def registered(model):
    """The callbacks that were noted, in a dict by name."""
    parts = {name: part() for name, part in _REGISTERED.get(model, {}).items()}
    return {name: part for name, part in parts.items() if part is not None}
