"""When the logs that callbacks see are computed anew, which makes a step wait for the device."""

import dis
import functools
import inspect

from keras_dawn.distributed.ranks import current

import keras

_OURS_AND_KERAS = ("keras.src.callbacks.", "keras_dawn.")  # the wheel has Keras's tests, too
_SAVING = tuple(
    getattr(keras.callbacks, name)
    for name in ("ModelCheckpoint", "OrbaxCheckpoint")
    if hasattr(keras.callbacks, name)
)
_HOOKS = {"train": ("on_train_batch_end", "on_batch_end"), "test": ("on_test_batch_end",)}


class FreshLogs(keras.callbacks.Callback):
    """Asks for exact logs of an epoch's last batch, and of each that a callback looks at.

    With `verbose=0`, and no callback that is told of a batch's end, only the last batch's are
    refreshed.

    Args:
        engine: `Engine`, whose steps are told.
        callbacks: the other callbacks, flat.
    """

    def __init__(self, engine, callbacks):
        super().__init__()
        self._engine = engine
        self._callbacks = callbacks
        self._always, self._seen = {}, {}

    def on_train_begin(self, logs=None):
        self._look("train")

    def on_test_begin(self, logs=None):
        self._look("test")

    def on_train_batch_begin(self, batch, logs=None):
        last = batch + 1 == self.params.get("steps")
        self._ask(self._always["train"] or last, self._seen["train"])

    def on_test_batch_begin(self, batch, logs=None):
        last = batch + 1 == self.params.get("steps")
        self._ask(self._always["test"] or last, self._seen["test"])

    def on_train_end(self, logs=None):
        self._ask(False)

    def on_test_end(self, logs=None):
        self._ask(False)

    def _look(self, mode):
        self._always[mode] = reads_batch_logs(self._callbacks, mode)
        # Ranks add up their logs together, so that all do it as often as the one that prints.
        prints = self.params.get("verbose", 1) or current().several
        self._seen[mode] = bool(prints) or sees_batches_end(self._callbacks, mode)

    def _ask(self, exact, seen=True):
        if self._engine.steps is not None:
            self._engine.steps.exact_logs = exact
            self._engine.steps.logs_are_seen = seen


def sees_batches_end(callbacks, mode):
    """Whether any of these callbacks does something at the end of a batch.

    Args:
        callbacks: flat list of `keras.callbacks.Callback`.
        mode: `"train"` or `"test"`.
    """
    return any(
        getattr(getattr(callback, hook), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for callback in callbacks
        for hook in _HOOKS[mode]
    )


def reads_batch_logs(callbacks, mode):
    """Whether a callback is to get the exact logs of every batch.

    Keras's own do with what is refreshed every few steps and at an epoch's end, unless they
    were told to write or to save within an epoch, or stop at a loss that is not finite.

    Args:
        callbacks: flat list of `keras.callbacks.Callback`.
        mode: `"train"` or `"test"`.
    """
    return any(
        _reads(getattr(callback, hook)) or _told_to_look(callback, mode)
        for callback in callbacks
        for hook in _HOOKS[mode]
    )


def _told_to_look(callback, mode):
    """Whether it is one of Keras's that look at the logs more often than once an epoch."""
    if isinstance(callback, keras.callbacks.TerminateOnNaN):
        return mode == "train"  # it says which batch it was, and no other is trained on
    if isinstance(callback, _SAVING):
        # Within an epoch it compares the logs with its best.
        return callback.save_freq != "epoch"
    return getattr(callback, "update_freq", "epoch") != "epoch"


def _reads(method):
    function = getattr(method, "__func__", method)
    bound = function is not method
    while _is_torchs(function):
        function = function.__wrapped__
    if hasattr(function, "__wrapped__"):
        return True  # a decorator may read them before the function does
    module = getattr(function, "__module__", None) or ""
    if module.startswith(_OURS_AND_KERAS) and not module.endswith("_test"):
        return False
    if not inspect.isfunction(function):
        return True  # a partial function, an object: anything may be in it
    return _uses_logs(function.__code__, bound)


def _is_torchs(function):
    """Whether it is `torch.no_grad()` or the like around a function: it reads no arguments."""
    module = getattr(function, "__globals__", {}).get("__name__")
    return module == "torch.utils._contextlib" and hasattr(function, "__wrapped__")


@functools.lru_cache(maxsize=1000)  # of code, which never changes
def _uses_logs(code, bound):
    """Whether a function does anything with its parameter for logs, the second after `self`."""
    # By its bytecode: the source of a function need not be there, in a notebook or a frozen
    # program.
    place = 2 if bound else 1
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if code.co_argcount <= place or "logs" in names[code.co_argcount :]:
        return True  # `*args`, `**kwargs`, keyword-only: no telling
    used = {"locals"} & set(code.co_names)
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        used.update([value] if isinstance(value, str) else value if type(value) is tuple else ())
    return names[place] in used or "locals" in used
