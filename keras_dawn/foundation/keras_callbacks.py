"""Where Keras's own callbacks keep what they have found out."""

import csv
import inspect

from keras_dawn.foundation.keras_fit import callbacks_of_fit

import keras

_KINDS = keras.callbacks
# Attributes that change during a training; settings are not among them.
KEPT = {
    _KINDS.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    _KINDS.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    _KINDS.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    _KINDS.SwapEMAWeights: ("_ema_weights_in_model",),
    _KINDS.CSVLogger: ("keys", "append_header"),
    _KINDS.TensorBoard: ("_global_train_batch", "_global_test_batch"),
}
_OF_NO_EFFECT = ("verbose",)  # on the training


def names_in_keras(callback):
    """Names that Keras's own code uses in the classes of a callback: its attributes among them."""
    names = set(vars(_KINDS.Callback()))
    for kind in type(callback).__mro__:
        if is_kerass(kind):
            for part in vars(kind).values():
                code = getattr(getattr(part, "fget", part), "__code__", None)
                names.update(code.co_names if code else ())
    return names


def settings_of(callback):
    """A callback's attributes that are called as arguments of `__init__` are: `monitor`, `path`."""
    found, own = {}, vars(callback)
    for kind in reversed(type(callback).__mro__):
        init = vars(kind).get("__init__")
        for name in inspect.signature(init).parameters if inspect.isfunction(init) else ():
            if name in own or f"_{name}" in own:
                found[name] = own.get(name, own.get(f"_{name}"))
    if isinstance(found.get("min_delta"), (int, float)):
        # Keras gives it a sign once it knows in which direction a metric gets better.
        found["min_delta"] = abs(found["min_delta"])
    return {name: value for name, value in found.items() if name not in _OF_NO_EFFECT}


def is_kerass(kind):
    """Whether a class of callbacks is one of Keras's."""
    return kind.__module__.partition(".")[0] == "keras"


def is_restored(callback):
    """Whether `BackupAndRestore` has put a backup back into the `fit`, before a callback's turn."""
    callbacks = callbacks_of_fit(callback)
    before = callbacks[: callbacks.index(callback)] if callback in callbacks else []
    restores = any(isinstance(one, _KINDS.BackupAndRestore) for one in before)
    return restores and callback.model._initial_epoch is not None


def text_of(logger):
    """All that a `CSVLogger`'s file holds."""
    if logger.csv_file is not None and not logger.csv_file.closed:
        logger.csv_file.flush()
    with open(logger.filename, newline="", encoding="utf-8") as file:
        return file.read()


def put_text(logger, text, epoch):
    """Gives a `CSVLogger`'s file this content; its next row follows.

    Of one that appends, only rows are removed that come back: those of this training from an
    epoch on. Where the file holds others, nothing in it is changed.

    Args:
        logger: `keras.callbacks.CSVLogger` whose training has begun.
        text: str.
        epoch: int, of the next row, or `None` of the first row of all.

    Returns:
        Whether the file has the content.
    """
    file = logger.csv_file
    if not logger.append:
        file.seek(0)
        file.truncate()
    now = text_of(logger)
    if text.startswith(now):
        file.write(text.removeprefix(now))
    elif now.startswith(text) and _come_back(logger, now[len(text) :], not text, epoch):
        file.truncate(len(text.encode("utf-8")))
    else:
        return False
    file.flush()
    logger.writer = None  # made anew with the next row, when its columns are known
    if logger.append:  # a header comes with the first row; the next `fit` looks anew whether it may
        logger.append_header = not text
    elif text:  # the next `fit` begins the file anew, with its header
        dialect = type("Dialect", (csv.excel,), {"delimiter": logger.sep})
        logger.writer = csv.DictWriter(file, ["epoch", *logger.keys], dialect=dialect)
    return True


def _come_back(logger, more, with_header, epoch):
    """Whether there are rows of the epochs from this one on; of the first, one at most."""
    rows = more.splitlines()
    rows = rows[with_header and rows[0].startswith("epoch") :]
    if epoch is None:
        return len(rows) < 2
    for number, row in enumerate(rows, epoch):
        found, separator, _ = row.partition(logger.sep)
        if found != (str(number) if separator else str(number)[: len(found)]):  # or is cut off
            return False
    return True
