"""Which nodes of a lowered graph have a mask: one tensor's is the same for all that read it."""


class Masks:
    """Gives the values of a graph masks, takes and changes them.

    Attributes:
        handed: dict of a node to the tensor with its mask, in its order, that Keras was given.
        ranks: dict of the node of a mask to how many of its tensor's first axes it has, where that
            is not noted at the tensor: symbols get no masks of layers inside the user's.
    """

    def __init__(self):
        self._masked = []  # values that have, or had, a mask
        self.handed, self.ranks = {}, {}

    def set(self, value, mask):
        """Gives a value a mask's node, or `None`."""
        value.mask = mask
        if mask is not None:
            self._masked.append(value)

    def drop(self, node):
        """Takes the mask off the tensor of a node, as layers that answer for it do in Keras."""
        for value in self._masked:
            if value.node is node and value.mask is not None:
                value.mask, value.unmasked = None, True

    def change(self, node, mask):
        """Lets another node say what mask the tensor of a node has, where it may have one."""
        for value in self._masked:
            if value.node is node and value.mask is not None:
                value.mask = mask

    def state(self):
        """What is known now, for `restore`."""
        masks = [(value, value.mask, value.unmasked) for value in self._masked]
        return masks, dict(self.handed)

    def restore(self, state):
        """Forgets what was set, taken off and changed since `state`."""
        masks, self.handed = state
        self._masked = [value for value, _, _ in masks]
        for value, mask, unmasked in masks:
            value.mask, value.unmasked = mask, unmasked
