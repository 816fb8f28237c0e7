"""The compiled losses of several outputs, each with its weight and its mean in the logs."""

from keras_dawn.foundation import keras_variables
from keras_dawn.native.steps.beside import leaves

import keras
import torch


class SeveralLosses:
    """Losses of the outputs in a list, a tuple or a dict, added up as `compile` says.

    An output whose batch has no exact form in torch goes to its Keras loss; outputs and targets
    that Keras has to find out how to pair are left to Keras wholly.

    Args:
        plan: `LossPlan`, what `compile` made of its arguments.
        losses: list of callables `(targets, outputs, weight) -> loss or None`, without weights.
        dtype: torch dtype that each loss is cast to.
    """

    left_to_keras = False  # a loss of the last batch

    def __init__(self, plan, losses, dtype):
        self._plan = plan
        self._dtype = dtype
        self._losses = losses
        count = len(keras.tree.flatten(plan.outputs))
        # Where each loss's output is in the flat list, found once and not in every step.
        places = keras.tree.pack_sequence_as(plan.outputs, list(range(count)))
        self._places = [places[key] for key in plan.keys]
        self._count = count

    def __call__(self, targets, outputs, weight=None):
        """The weighted sum, or `None` for what Keras has to pair."""
        self.left_to_keras = False
        outputs, targets = _paired(outputs, targets, self._plan.names)
        if targets is None or len(outputs) != self._count:
            return None
        weights = self._weights(weight)
        if weights is None:
            return None
        total = 0
        parts = zip(self._plan.losses, self._losses, self._places, weights, strict=True)
        for number, ((loss, factor), native, place, own_weight) in enumerate(parts):
            y, found = targets[place], outputs[place]
            value = native(y, found, own_weight)
            if value is None:
                self.left_to_keras = True
                value = loss(y, found, own_weight)
            value = value.to(self._dtype)
            if self._plan.means:
                _add(self._plan.means[number], value.detach(), len(found))
            total = total + (value if factor is None else value * factor)
        return total

    def settings(self):
        """What computing the losses reads."""
        return tuple(setting for native in self._losses for setting in native.settings())

    def _weights(self, weight):
        """The sample weights of each loss; `None` where Keras knows what is wrong with them."""
        if weight is None or isinstance(weight, torch.Tensor):
            return [weight] * len(self._losses)
        try:
            found = [weight[key] for key in self._plan.keys]
        except (KeyError, IndexError, TypeError):
            return None
        usable = all(one is None or isinstance(one, torch.Tensor) for one in found)
        return found if usable else None


def why_not_several(plan):
    """Why Keras has to pair the outputs with their losses, or `None`."""
    if plan is None or len(plan.losses) == 0:
        return "no loss was built"
    flat = (list, tuple, dict)
    if not isinstance(plan.outputs, flat) or not isinstance(plan.targets, flat):
        return "several losses of one output"
    if any(keras.tree.is_nested(part) for part in _parts(plan.outputs)):
        return "nested outputs"
    if len(_parts(plan.targets)) != len(_parts(plan.outputs)) or None in plan.keys:
        return "outputs without targets"
    return None


def _parts(structure):
    return list(structure.values() if isinstance(structure, dict) else structure)


def _paired(outputs, targets, names):
    """Flat outputs and targets in one order, Keras's; targets are `None` where that is not known.

    A list of outputs takes a dict of targets by the outputs' names.
    """
    if isinstance(outputs, dict):
        alike = isinstance(targets, dict) and targets.keys() == outputs.keys()
        if not alike:
            return [], None
        outputs, targets = leaves(outputs), leaves(targets)
    elif isinstance(outputs, (list, tuple)):
        if isinstance(targets, dict) and names and set(names) == targets.keys():
            targets = [targets[name] for name in names]
        if not isinstance(targets, (list, tuple)) or len(targets) != len(outputs):
            return [], None
    else:
        return [], None
    if not all(isinstance(part, torch.Tensor) for part in (*outputs, *targets)):
        return [], None
    return outputs, targets


@torch.no_grad()
def _add(mean, value, batch):
    """Adds a batch's loss to a `keras.metrics.Mean`."""
    if value.ndim:
        mean.update_state(value, sample_weight=batch)
        return
    total, count = map(keras_variables.memory_of, (mean.total, mean.count))
    total.add_(value.to(total.dtype), alpha=batch)
    count.add_(batch)
