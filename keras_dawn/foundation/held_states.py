"""What in the data tells its state by itself: random generators, files, layers, `state_dict`."""

import io
import random

from keras_dawn.foundation import keras_random
from keras_dawn.foundation.model_state import overwrite
from keras_dawn.foundation.random_state import generator_state

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader


def own_state(value):
    """How to get and to put the state that a value itself tells; `None` of anything else."""
    if state := generator_state(value):
        return state
    ours = type(value).__module__.startswith("keras_dawn.")
    if isinstance(value, (keras.Layer, keras.random.SeedGenerator)):
        return _variables(value)
    # The places of other loaders are where their workers are, not where the training is: their
    # batches are gone through again.
    other = isinstance(value, (DataLoader, torch.nn.Module, type)) and not ours
    if has_state(value) and not other:
        return value.state_dict, value.load_state_dict
    if ours and hasattr(value, "set_epoch"):
        return _epochs(value)
    if isinstance(value, io.IOBase):
        return _place(value)
    if type(value).__module__ == "multiprocessing.sharedctypes":
        return _shared(value)
    return None


def has_state(part):
    """Whether something has a state of its own to give."""
    # Asked of its class: settings with a key for each attribute answer any name, or raise, and a
    # module that is imported when it is first used is not to be imported.
    own = getattr(part, "__dict__", {})
    names = ("state_dict", "load_state_dict")
    both = all(name in own or hasattr(type(part), name) for name in names)
    return both and not isinstance(part, type)


def is_without_state(value):
    """Whether something that may tell a state tells none: a layer without random numbers."""
    return isinstance(value, (keras.Layer, io.IOBase))


def generators_of_layer(layer):
    """`(step, part)` of random generators that layers hold beside Keras's seeds."""
    found = [
        (("attribute", name), part)
        for name, part in vars(layer).items()
        if generator_state(part) is not None
    ]
    # By number: names that Keras gives differ with what was made before.
    inner = enumerate(getattr(layer, "layers", []))
    return found + [(("kept", f"layers/{number}"), part) for number, part in inner]


def maker_of(generator):
    """What `made` makes a random generator by, as a string; `None` of anything else."""
    if isinstance(generator, torch.Generator):
        return f"torch {generator.device}"
    if isinstance(generator, np.random.Generator):
        return f"numpy {type(generator.bit_generator).__name__}"
    if type(generator) is np.random.RandomState:
        return "RandomState"
    return "random" if type(generator) is random.Random else None


def made(maker):
    """A random generator of the kind that `maker_of` named."""
    library, _, more = maker.partition(" ")
    if library == "torch":
        return torch.Generator(more)
    if library == "numpy":
        kinds = (
            np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox,
            np.random.SFC64,
        )  # fmt: skip
        return np.random.Generator({kind.__name__: kind for kind in kinds}[more]())
    return np.random.RandomState() if library == "RandomState" else random.Random()


def _variables(layer):
    """Of a layer's seeds, and of what else it keeps without training it."""
    if isinstance(layer, keras.random.SeedGenerator):
        held = [layer.state]
    elif isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential):
        held = [v for v in layer.variables if keras_random.is_seed(v)]
    else:
        held = layer.non_trainable_variables
    if not held:
        return None

    def put(values):
        if len(values) != len(held):
            raise ValueError(
                f"The layer {getattr(layer, 'name', 'SeedGenerator')} in the data had "
                f"{len(values)} variables that are not trained, and has {len(held)} now. Build it "
                "before `fit` begins."
            )
        for variable, value in zip(held, values, strict=True):
            overwrite(variable.value, value)

    return lambda: [v.value.detach().to("cpu", copy=True) for v in held], put


def _epochs(data):
    """How to get and to put the epochs that this package's data is in."""

    def put(epochs):
        data.set_epoch(epochs["epoch"])
        if epochs["settings"] is not None:
            data.settings_epoch = epochs["settings"]

    return lambda: {"epoch": data.epoch, "settings": getattr(data, "settings_epoch", None)}, put


def _place(file):
    """Of a file that is open for reading alone."""
    try:
        if file.closed or file.writable() or not file.seekable():
            return None
        file.tell()
    except (OSError, ValueError):
        return None

    def put(place):
        if not file.closed:
            file.seek(place)

    return lambda: 0 if file.closed else file.tell(), put


def _shared(value):
    """Of a number or an array of `multiprocessing` that workers share."""
    if hasattr(value, "value"):
        return lambda: value.value, lambda new: setattr(value, "value", new)
    held = value.get_obj() if hasattr(value, "get_obj") else value

    def put(new):
        held[:] = new

    return lambda: list(held[:]), put
