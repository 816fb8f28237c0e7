"""Keeping single weights as they are: the scale of batch normalisation, a stem."""

import re


def freeze(model, *patterns):
    """Makes the weights whose path matches a pattern untrainable.

    `layer.trainable = False` freezes a layer whole, and with it, in Keras, the statistics of
    batch normalisation; this freezes single weights. Call it before `compile`, which makes the
    optimizer's list of weights. It is not part of a saved model: call it again after loading.

    Args:
        model: built `keras.Model`.
        *patterns: regular expressions of paths, such as `"_bn/gamma"` for the scales of batch
            normalisation or `"^stem/"` for a layer's weights.

    Returns:
        list of the paths of the weights that were frozen.

    Raises:
        ValueError: a pattern that matches no trainable weight, or a bad one.

    Example:
        >>> model = keras_dawn.models.WideResNet(10, 1)
        >>> len(keras_dawn.models.freeze(model, "_bn/gamma"))
        7
    """
    found = []
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}.") from None
        # Searched anew for each pattern: what an earlier one has frozen is not found twice.
        weights = [w for w in model.trainable_weights if expression.search(w.path)]
        if not weights:
            paths = [weight.path for weight in model.trainable_weights[:5]]
            there = f"There are: {', '.join(paths)}, …" if paths else "All are frozen already."
            raise ValueError(f"{pattern!r} matches no trainable weight of {model.name}. {there}")
        for weight in weights:
            weight.trainable = False
            found.append(weight.path)
    return found
