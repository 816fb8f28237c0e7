"""Settings that change with the epoch."""


def by_epoch(value, name, check):
    """A setting as a dict from first epochs (0-based) to values, sorted and checked.

    Raises:
        ValueError: a dict that does not begin at epoch 0, or a bad value.
    """
    table = dict(sorted(value.items())) if isinstance(value, dict) else {0: value}
    if not table or next(iter(table)) != 0 or not all(isinstance(e, int) for e in table):
        raise ValueError(
            f"`{name}` must be one value, or a dict from epochs to values that begins with epoch "
            f"0, got {value!r}."
        )
    for entry in table.values():
        check(entry)
    return table


def at_epoch(table, epoch):
    """The value of a `by_epoch` table in an epoch."""
    return table[max(first for first in table if first <= epoch)]
