"""Which callbacks of the `fit` under way have a state that its checkpoints must hold."""

import inspect

import keras


def callbacks_of_fit(callback):
    """The callbacks that `fit` calls together with this one, which it is calling now.

    Keras tells a callback its model and not its neighbours, and no model knows the callbacks of
    its `fit`: the list that calls is found among the calls under way.

    Returns:
        list of `keras.callbacks.Callback` in the order of their calls, this one among them; empty
        where something else than a `keras.callbacks.CallbackList` calls.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList) and callback in caller.callbacks:
            return list(caller.callbacks)
        frame = frame.f_back
    return []


def with_states(callbacks):
    """Those with `state_dict()` and `load_state_dict(state)`, by name.

    A callback goes under its class's name; further ones of a class get a number, in their order.
    """
    found = {}
    for callback in callbacks:
        if not (hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")):
            continue
        name, number = type(callback).__name__, 2
        while name in found:
            name, number = f"{type(callback).__name__}-{number}", number + 1
        found[name] = callback
    return found
