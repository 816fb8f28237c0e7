"""Several optimizers, each for weights of its own."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.native.steps.updates.base import Update


class Several(Update):
    """`keras.optimizers.MultiOptimizer`: an update for the weights of each optimizer in it.

    Args:
        optimizer: built `MultiOptimizer`.
        parts: list of `(numbers, update)`, which of the leaves an update is for.
    """

    needs_all = True  # gradients; what is said of missing ones is said by each optimizer

    def __init__(self, optimizer, leaves, parts):
        super().__init__(optimizer, leaves)
        self._parts = parts
        self.handles_found_inf = all(update.handles_found_inf for _, update in parts)

    def is_laid_out(self):
        return all(update.is_laid_out() for _, update in self._parts)

    def changes_gradients(self):
        return any(update.changes_gradients() for _, update in self._parts)

    def follow_on_device(self):
        for _, update in self._parts:
            update.follow_on_device()

    def follow(self):
        for _, update in self._parts:
            update.follow()

    def settings(self):
        return tuple(update.settings() for _, update in self._parts)

    def why_no_graph(self):
        reasons = (update.why_no_graph() for _, update in self._parts)
        return next((reason for reason in reasons if reason is not None), None)

    def step(self, gradients, found_inf=None):
        for numbers, update in self._parts:
            update.step([gradients[number] for number in numbers], found_inf)
        self.count(found_inf)


def parts_of(optimizer, leaves):
    """`(inner optimizer, numbers of its leaves)` in a `MultiOptimizer`, in its order."""
    parts = {}
    for number, leaf in enumerate(leaves):
        inner = keras_optimizers.optimizer_of(optimizer, leaf.variable)
        parts.setdefault(id(inner), (inner, []))[1].append(number)
    order = {id(inner): place for place, inner in enumerate(optimizer.optimizers)}
    return [parts[key] for key in sorted(parts, key=order.__getitem__)]
