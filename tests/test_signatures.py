"""At most eight arguments where a user writes them."""

import importlib
import inspect
import pkgutil

import keras_dawn
import keras_dawn.resume

import keras
import pytest

LIMIT = 8
POSITIONAL = 4  # of networks and optimizers, which may have more arguments, as Keras's have
# Its fields are the keys of the benchmark's file.
LONGER = {"keras_dawn.dawnbench.Entry"}
ROOMS = sorted(
    room.name for room in pkgutil.iter_modules(keras_dawn.__path__, "keras_dawn.") if room.ispkg
)


def rooms():
    """Every room with a list of public names."""
    names = ["keras_dawn", *ROOMS, "keras_dawn.data.photos"]
    modules = [importlib.import_module(name) for name in names]
    return [module for module in modules if hasattr(module, "__all__")]


def public_callables():
    """`(name, callable)` of all public functions and classes, and of the classes' methods."""
    found = {}
    for module in rooms():
        for name in module.__all__:
            item = getattr(module, name)
            if not inspect.isclass(item) and not inspect.isfunction(item):
                continue  # a room, a table
            if inspect.isclass(item) and issubclass(item, Exception):
                continue
            found[item] = f"{module.__name__}.{name}"
            for key, method in vars(item).items() if inspect.isclass(item) else ():
                method = getattr(method, "__func__", method)
                if inspect.isfunction(method) and not key.startswith("_"):
                    found[method] = f"{module.__name__}.{name}.{key}"
    return [(name, item) for item, name in found.items()]


def arguments(item):
    parameters = inspect.signature(item).parameters.values()
    return [parameter for parameter in parameters if parameter.name not in ("self", "cls")]


def follows_keras(name, item):
    """Whether it makes a network or is an optimizer."""
    optimizer = inspect.isclass(item) and issubclass(item, keras.optimizers.Optimizer)
    return optimizer or (name.startswith("keras_dawn.models.") and inspect.isfunction(item))


CALLABLES = public_callables()


def test_there_are_many_of_them():
    assert len(CALLABLES) > 150 and len(ROOMS) > 10


@pytest.mark.parametrize("name, item", CALLABLES, ids=[name for name, _ in CALLABLES])
def test_a_public_callable_has_at_most_eight_arguments(name, item):
    if name in LONGER:
        assert len(arguments(item)) > LIMIT  # else it needs no exception
        return
    given = arguments(item)
    names = ", ".join(argument.name for argument in given)
    if not follows_keras(name, item):
        assert len(given) <= LIMIT, f"{name} has {len(given)} arguments: {names}"
        return
    positional = [one for one in given if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= POSITIONAL, f"{name}: only the first four by place, of {names}"
