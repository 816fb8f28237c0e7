"""What is in the memory of emulated CUDA graphs: garbage, as soon as nobody but a tape holds it.

On a GPU a graph knows addresses only. Memory from its pool is the next graph's when nobody holds
it any more, and memory from outside is anybody's. A tape of operations keeps its tensors alive and
would hide both.
"""

import torch
from torch.utils._pytree import tree_leaves


def storages(part):
    """`(identity, tensor)` of all memory in a structure of tensors."""
    for tensor in tree_leaves(part):
        if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes():
            yield tensor.untyped_storage()._cdata, tensor


def _holders(tensor):
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata)


# What asking adds to the tensors that hold a memory.
_ASKING = _holders(torch.zeros(3)) - 1


class PoolMemory:
    """The memory that one graph's tape names, its own and that from outside.

    Args:
        tape: list of `(function, args, kwargs, result)`.
        own: set of identities of the memory that was made in the capture.
    """

    def __init__(self, tape, own):
        self._held, self._own, self._outside = {}, {}, {}
        for _, *parts in tape:
            for identity, tensor in storages(parts):
                self._held[identity] = self._held.get(identity, 0) + 1
                (self._own if identity in own else self._outside)[identity] = tensor

    def _only_the_tape_holds(self, identity, tensor):
        return _holders(tensor) - _ASKING <= self._held[identity]

    def check(self):
        """Fails where a graph would read or write memory that nobody holds any more."""
        for identity, tensor in self._outside.items():
            if self._only_the_tape_holds(identity, tensor):
                shape = tuple(tensor.shape)
                raise AssertionError(f"A graph goes on with freed memory: {tensor.dtype} {shape}")

    def spoil(self, all_of_it=False):
        """Fills memory of the pool that nobody holds, or all of it, with ones in every bit."""
        for identity, tensor in self._own.items():
            if all_of_it or self._only_the_tape_holds(identity, tensor):
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                whole.fill_(255)
