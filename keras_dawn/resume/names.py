"""Names of states in a checkpoint: the same in every process, and each used once."""

import re

_NUMBER = re.compile(r"_\d+(?=[./]|$)")


def unnumbered(name):
    """A name without the numbers by which Keras tells the layers of a process apart.

    Example:
        >>> unnumbered("layer dense_3.kernel_regularizer")
        'layer dense.kernel_regularizer'
    """
    return _NUMBER.sub("", name)


def name_in_logs(name, others):
    """A name in the logs of `fit`, where losses and metrics have other names now.

    Args:
        name: str.
        others: dict, their names by those that they had.

    Example:
        >>> name_in_logs("val_auc", {"auc": "auc_1"})
        'val_auc_1'
    """
    prefix = "val_" if name.startswith("val_") else ""
    own = name.removeprefix(prefix)
    return prefix + others.get(own, own)


def free_name(name, taken):
    """A name, or with a number the first like it that is not among `taken`.

    Example:
        >>> free_name("Counter", {"Counter", "Counter-2"})
        'Counter-3'
    """
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def name_of_part(kind, part):
    """What a layer, loss, metric or optimizer of a model is called in a checkpoint: `layer dense`.

    Args:
        kind: str.
        part: the object, or a function or a string in its place.
    """
    called = getattr(part, "name", None) or getattr(part, "__name__", type(part).__name__)
    return f"{kind} {called}"
