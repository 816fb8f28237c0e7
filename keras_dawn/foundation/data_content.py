"""What tells the data of a training from other data of its size, by a sample of it."""

import hashlib
import os

from keras_dawn.foundation import held_parts
from keras_dawn.foundation.data_walk import DataWalk

import torch

_SAMPLED = 4096  # numbers of an array, entries of a list
_OF_EACH = 16  # numbers of an array in a list
_FILES = 64  # of those that a list names, whose sizes count
_FEW = 64  # entries of a dict that may be settings
_MOST = 200  # digests
_ELSEWHERE = ("global", "class")  # ways to what need not be the data's own


def contents_of(source):
    """Digests of the arrays, lists, long dicts and tables that a data source holds, by name.

    Names and samples are the same in another process, and nothing is fetched from the source, so
    that random transforms do not matter. Files are told by their names below the folder that they
    are all in, and by their sizes where a list has their whole paths.

    Args:
        source: what was given to `fit`, or `None`.

    Returns:
        dict of str to str, with the names that `SourceState` uses.

    Example:
        >>> one, other = ({"files": ["a/1.jpg", name]} for name in ("a/2.jpg", "a/3.jpg"))
        >>> contents_of(one) == contents_of(other)
        False
    """
    found = {}
    _collect(DataWalk(source), "", found)
    return found


def digest_of(*parts):
    """A digest of arrays, by a sample of each, and of numbers, strings and lists of them.

    Example:
        >>> digest_of(torch.arange(3), "a") == digest_of(torch.arange(3), "b")
        False
    """
    leaves = []
    for part in parts:
        leaves += [_sample(part)] if held_parts.kind_of(part) == "array" else _leaves(part)
    return _of_leaves(leaves)


def _collect(walk, place, found):
    elsewhere = set()
    for name, node in walk.nodes.items():
        owner = node.owner.name if node.owner is not None else None
        if owner in elsewhere or node.step[:1] in ((how,) for how in _ELSEWHERE):
            elsewhere.add(name)
        elif _is_ours(node):  # whose state is its epoch, and nothing of what it holds
            _collect(DataWalk(dict(vars(node.value))), f"{place}{name}:" if name else place, found)
        elif len(found) < _MOST and (digest := _digest(node.kind, node.value)) is not None:
            found[f"{place}{name}"] = digest


def _is_ours(node):
    ours = type(node.value).__module__.startswith("keras_dawn.") and node.kind == "state"
    return ours and not hasattr(node.value, "state_dict") and hasattr(node.value, "__dict__")


def _digest(kind, value):
    if kind == "array":
        return _of_leaves([_sample(value)])
    if kind == "list":
        return _of_leaves(_leaves(_few(held_parts.entries(value))))
    if kind == "dict" and len(value) > _FEW:
        return _of_leaves(_leaves(_few(list(value.items()))))
    if kind == "table":
        few = value.iloc[:: 1 + len(value) // _SAMPLED]
        # By number: of several columns of one name, each.
        columns = [few] if few.ndim == 1 else [few.iloc[:, n] for n in range(few.shape[1])]
        return _of_leaves([leaf for column in columns for leaf in _leaves(column.tolist())])
    return None


def _few(entries):
    return [len(entries), *entries[:: 1 + len(entries) // _SAMPLED]]


def _leaves(value, depth=4):
    """The numbers, strings and arrays in a structure."""
    if isinstance(value, (list, tuple)) and depth:
        return [leaf for part in value for leaf in _leaves(part, depth - 1)]
    if isinstance(value, os.PathLike):
        return [os.fspath(value)]
    if held_parts.is_plain(value):
        return [value]
    return [_sample(value, _OF_EACH)] if held_parts.kind_of(value) == "array" else []


def _sample(array, count=_SAMPLED):
    if isinstance(array, torch.Tensor):
        flat = array.detach().reshape(-1)
        return repr(flat[:: 1 + len(flat) // count].cpu().tolist())
    return repr(array.reshape(-1)[:: 1 + array.size // count].tolist())


def _of_leaves(leaves):
    """The digest of numbers and strings, in whichever folder the files are that these name."""
    paths = [leaf for leaf in leaves if isinstance(leaf, str) and os.path.isabs(leaf)]
    start = len(os.path.commonpath(list(map(os.path.dirname, paths)))) if paths else 0
    digest = hashlib.sha256()
    for leaf in leaves:
        inner = leaf[start:] if isinstance(leaf, str) and os.path.isabs(leaf) else leaf
        digest.update(repr(inner).encode("utf-8", "surrogatepass") + b"\0")
    for path in paths[:: 1 + len(paths) // _FILES]:
        digest.update(str(os.path.getsize(path) if os.path.isfile(path) else None).encode())
    return digest.hexdigest()[:12]
