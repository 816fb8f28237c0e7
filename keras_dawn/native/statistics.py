"""Moving averages of batch normalisation, all layers at once, by Keras's definition."""

from keras_dawn.native.steps.averages import average

import torch


class MovingAverages:
    """Updates every layer's moving mean and variance from a step's batch statistics.

    The moving averages of layers with the same momentum and epsilon are moved into one
    flat tensor each, of which the Keras variables become slices: six operations a step,
    however many layers. Keras averages the biased variance, torch the unbiased one.

    Args:
        layers: list of `BatchNormalization`, in the order of the statistics. A layer that
            is called several times is averaged in once for each call, as Keras does.
    """

    def __init__(self, layers):
        self._groups = {}
        self._again = []  # those that are averaged one by one
        seen = set()
        for number, layer in enumerate(layers):
            if id(layer) in seen:
                self._again.append((number, layer))
                continue
            seen.add(id(layer))
            # What one operation can treat alike.
            key = (layer.momentum, layer.epsilon, layer.moving_mean.value.dtype)
            self._groups.setdefault(key, []).append((number, layer))
        self._flat = {}
        for key, members in list(self._groups.items()):
            flat = [
                _flatten([getattr(layer, name) for _, layer in members])
                for name in ("moving_mean", "moving_variance")
            ]
            if any(tensor is None for tensor in flat):
                # Another model has them in its own flat tensors: one by one, then.
                self._again += self._groups.pop(key)
            else:
                self._flat[key] = tuple(flat)
        self._again.sort(key=lambda one: one[0])  # a layer's first call comes before its second

    def are_shared(self):
        """Whether the variables still are slices of the flat tensors."""
        return all(
            getattr(members[0][1], name).value.data_ptr() == flat.data_ptr()
            and getattr(members[-1][1], name).value.data_ptr()
            == flat[-getattr(members[-1][1], name).value.numel() :].data_ptr()
            for key, members in self._groups.items()
            for name, flat in zip(("moving_mean", "moving_variance"), self._flat[key], strict=True)
        )

    def update(self, statistics, skip=None):
        """Averages one step in; to be called without gradients.

        Args:
            statistics: list of `(mean, inverse deviation)`, as batch normalisation saves them.
            skip: bool tensor `(1,)` or `None`; where it is true nothing changes.
        """
        for key, members in self._groups.items():
            momentum, epsilon, _ = key
            mean = torch.cat([statistics[number][0] for number, _ in members])
            deviation = torch.cat([statistics[number][1] for number, _ in members])
            average(*self._flat[key], mean, deviation, momentum, epsilon, skip)
        for number, layer in self._again:
            average(
                layer.moving_mean.value,
                layer.moving_variance.value,
                *statistics[number],
                layer.momentum,
                layer.epsilon,
                skip,
            )


def _flatten(variables):
    """One tensor with the variables' values, of which each variable is a slice.

    Returns:
        The flat tensor, or `None` where some variables are slices of other flat tensors.
    """
    values = [variable.value.data for variable in variables]
    # An earlier training of the same model has laid them out already.
    if _are_slices(values):
        count = sum(value.numel() for value in values)
        return values[0].as_strided((count,), (1,))
    if any(value.untyped_storage().nbytes() != value.nbytes for value in values):
        return None
    flat = torch.cat([value.flatten() for value in values])
    start = 0
    for variable, value in zip(variables, values, strict=True):
        variable.value.data = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
    return flat


def _are_slices(values):
    """Whether tensors lie one behind the other and fill one memory."""
    place = 0
    for value in values:
        same = value.untyped_storage().data_ptr() == values[0].untyped_storage().data_ptr()
        if not same or value.storage_offset() != place or not value.is_contiguous():
            return False
        place += value.numel()
    return values[0].untyped_storage().nbytes() == place * values[0].element_size()
