"""Moving averages of batch normalisation, all layers at once, by Keras's definition."""

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
        self._again = []
        seen = set()
        for number, layer in enumerate(layers):
            if id(layer) in seen:
                self._again.append((number, layer))
                continue
            seen.add(id(layer))
            key = (layer.momentum, layer.epsilon, layer.moving_mean.value.dtype)
            self._groups.setdefault(key, []).append((number, layer))
        self._flat = {
            key: (
                _flatten([layer.moving_mean for _, layer in members]),
                _flatten([layer.moving_variance for _, layer in members]),
            )
            for key, members in self._groups.items()
        }

    @torch.no_grad()
    def update(self, statistics, skip=None):
        """Averages one step in.

        Args:
            statistics: list of `(mean, inverse deviation)`, as batch normalisation saves them.
            skip: bool tensor `(1,)` or `None`; where it is true nothing changes.
        """
        for key, members in self._groups.items():
            momentum, epsilon, _ = key
            mean = torch.cat([statistics[number][0] for number, _ in members])
            deviation = torch.cat([statistics[number][1] for number, _ in members])
            _average(*self._flat[key], mean, deviation, momentum, epsilon, skip)
        for number, layer in self._again:
            _average(
                layer.moving_mean.value,
                layer.moving_variance.value,
                *statistics[number],
                layer.momentum,
                layer.epsilon,
                skip,
            )


def _average(moving_mean, moving_variance, mean, deviation, momentum, epsilon, skip):
    variance = deviation.to(moving_variance.dtype).pow(-2).sub_(epsilon)
    for moving, new in ((moving_mean, mean.to(moving_mean.dtype)), (moving_variance, variance)):
        if skip is None:
            moving.lerp_(new, 1 - momentum)
        else:
            moving.copy_(torch.where(skip, moving, moving.lerp(new, 1 - momentum)))


def _flatten(variables):
    """One tensor with the variables' values; each variable becomes a slice of it."""
    flat = torch.cat([variable.value.data.flatten() for variable in variables])
    start = 0
    for variable in variables:
        count = variable.value.numel()
        variable.value.data = flat[start : start + count].view(variable.value.shape)
        start += count
    return flat
