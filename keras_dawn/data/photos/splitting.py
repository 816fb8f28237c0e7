"""One set of photos as two: what is trained on, and what is validated on."""

import numpy as np


def split(source, fraction, *, seed=0, groups=None, stratified=True):
    """Splits a source in two, the same way for the same seed.

    Args:
        source: `PhotoSource` with `labels`.
        fraction: float in (0, 1), of the photos, for the second part.
        seed: int.
        groups: what belongs together and must not be in both parts (photos of one animal, one
            patient, one film): values `(count,)`, or a function of a photo's name, such as
            `lambda name: name.split("_")[0]`; by default photos of the same name.
        stratified: bool, whether each class is split by `fraction`, as nearly as whole photos and
            groups allow.

    Returns:
        `(training, validation)`, sources with the photos in their order.

    Raises:
        ValueError: a fraction out of range, groups of another number, or a part without photos.

    Example:
        >>> train, val = split(ImageFolder("photos"), 0.2, seed=1)      # doctest: +SKIP
    """
    if not 0 < fraction < 1:
        raise ValueError(f"`fraction` must be in (0, 1), got {fraction!r}.")
    count = len(source)
    keys = _keys(source, groups)
    if len(keys) != count:
        raise ValueError(f"`groups` must have a value for each of {count} photos, got {len(keys)}.")
    _, members = np.unique(keys, return_inverse=True)
    chosen = _chosen(_amounts(source, stratified), members, fraction, seed)
    second = chosen[members]
    if second.all() or not second.any():
        raise ValueError(
            f"fraction={fraction} of {count} photos in {members.max() + 1} groups leaves a part "
            "without photos."
        )
    parts = source.subset(np.flatnonzero(~second)), source.subset(np.flatnonzero(second))
    for part, skipped in zip(parts, _skipped(source, fraction, seed), strict=True):
        part.skipped = skipped
    return parts


def _skipped(source, fraction, seed):
    """The files that were left out from the start, for each part its fraction of them.

    Each is named by one of the parts, and counts there among those that cannot be read.
    """
    names = np.random.default_rng(seed).permutation(sorted(source.skipped)).tolist()
    border = len(names) - round(fraction * len(names))
    return [
        {name: source.skipped[name] for name in sorted(part)}
        for part in (names[:border], names[border:])
    ]


def _keys(source, groups):
    if groups is None:  # a photo that a table has twice is one photo
        numbers = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in source.names()])
    if callable(groups):
        return np.array([str(groups(name)) for name in source.names()])
    return np.array([str(group) for group in groups])


def _amounts(source, stratified):
    """What each photo counts for, float64 `(count, classes)`: itself, in its classes."""
    if not stratified:
        return np.ones((len(source), 1))
    labels = source.labels
    if labels.ndim == 1:
        return np.eye(len(source.class_names))[labels]
    # Those without a label are split like another class: nothing would be due of them otherwise.
    return np.column_stack([labels, ~labels.any(1)]).astype(float)


def _chosen(amounts, members, fraction, seed):
    """Which groups go to the second part: in a random order, those that bring it nearer its due."""
    groups = np.zeros((members.max() + 1, amounts.shape[1]))
    np.add.at(groups, members, amounts)
    due = fraction * groups.sum(0)
    have, chosen = np.zeros_like(due), np.zeros(len(groups), bool)
    # Of a class with one photo the most is wanted for training: half a photo is no photo.
    for group in np.random.default_rng(seed).permutation(len(groups)):
        nearer = np.abs(due - have - groups[group]).sum() < np.abs(due - have).sum() - 1e-9
        if nearer:
            chosen[group] = True
            have += groups[group]
    return chosen
