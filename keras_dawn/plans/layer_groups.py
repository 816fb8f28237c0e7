"""A network's layers in groups, from the input to the head, for fine-tuning."""

import re
from dataclasses import dataclass

import keras

BATCH_NORM = ("train", "keep")


@dataclass(frozen=True)
class LayerGroups:
    """Which layers are trained together, and how far their rates are apart.

    Args:
        patterns: regular expressions of layers' names, from the input to the head, which is the
            last; a layer belongs to the first that it matches. By default the head is the last
            layer with weights, and the others are halved.
        spread: float from 1 up, the head's rate over the first group's; those between are spaced
            evenly by their logarithms (fastai's `lr_mult`).
        batch_norm: `"train"` (fastai's: also while the rest is frozen), or `"keep"`: batch
            normalisation before the head keeps its statistics, scales and shifts.

    Raises:
        ValueError: a spread below 1, fewer than two patterns, a bad one, or another `batch_norm`.

    Example:
        >>> LayerGroups(["^conv1|^bn1|^layer[12]_", "^layer[34]_", "^predictions"]).rates()
        [0.01, 0.1, 1.0]
    """

    patterns: tuple | list | None = None
    spread: float = 100.0
    batch_norm: str = "train"

    def __post_init__(self):
        if not self.spread >= 1:
            raise ValueError(f"`spread` must be 1 or more, got {self.spread!r}.")
        if self.batch_norm not in BATCH_NORM:
            raise ValueError(
                f"`batch_norm` must be one of {', '.join(BATCH_NORM)}, got {self.batch_norm!r}."
            )
        if self.patterns is not None and len(self.patterns) < 2:
            raise ValueError(f"Expected patterns of two groups or more, got {self.patterns!r}.")
        for pattern in self.patterns or ():
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}.") from None

    def rates(self, count=None):
        """What the rate of each group is multiplied by, the first group's first."""
        count = len(self.patterns or (0, 0, 0)) if count is None else count
        return [round(self.spread ** (-(count - 1 - n) / (count - 1)), 12) for n in range(count)]

    def of(self, model):
        """The layers with weights of each group, lists of layers.

        Raises:
            ValueError: a layer that no pattern matches, a pattern that matches none, or a network
                of fewer than two layers with weights.
        """
        layers = [layer for layer in leaves_of(model) if layer.weights]
        if len(layers) < 2:
            raise ValueError(
                f"{model.name} has {len(layers)} layers with weights: too few to split into groups."
            )
        if self.patterns is None:
            body, half = layers[:-1], (len(layers) - 1) // 2
            return [part for part in (body[:half], body[half:], layers[-1:]) if part]
        groups = [[] for _ in self.patterns]
        for layer in layers:
            place = next((n for n, p in enumerate(self.patterns) if re.search(p, layer.name)), None)
            if place is None:
                raise ValueError(
                    f"The layer {layer.name!r} belongs to no group of {self.patterns}."
                )
            groups[place].append(layer)
        for pattern, group in zip(self.patterns, groups, strict=True):
            if not group:
                names = ", ".join(layer.name for layer in layers[:8])
                raise ValueError(
                    f"The pattern {pattern!r} matches no layer of {model.name} that is not in a "
                    f"group before it. There are: {names}, …"
                )
        return groups


def leaves_of(model):
    """The layers of a model and of the models in it, in their order, each once."""
    found = {}
    for layer in model.layers:
        inner = leaves_of(layer) if isinstance(layer, keras.Model) else [layer]
        found |= {id(leaf): leaf for leaf in inner}
    return list(found.values())
