"""Callbacks that an accelerated model's `fit` adds to those it is given."""

import sys

from keras_dawn.distributed.ranks import current
from keras_dawn.native.steps.reduction import check_equal_weights

import keras


class SetEpoch(keras.callbacks.Callback):
    """Tells data which epoch begins, so that `initial_epoch` and a resumed run are right.

    Data that has been through more epochs already counts on: another `fit` from epoch 0 does
    not repeat order and augmentation of the one before.

    Args:
        data: object with `epoch` and `set_epoch`.
        initial_epoch: int, that of the `fit`, and not the one in which a training goes on.
        goes_on: bool, whether a pass over the data goes on over the ends of epochs, as under
            `steps_per_epoch`. Data with a `settings_epoch` then counts its passes itself.
    """

    def __init__(self, data, initial_epoch, goes_on):
        super().__init__()
        self._data = data
        self._own_passes = goes_on and hasattr(data, "settings_epoch")
        passed = data.epoch  # before Keras looks at a first batch
        if getattr(data, "settings_epoch", None) is not None:
            # An earlier `fit` with `steps_per_epoch` counted its epochs there.
            passed = max(passed, data.settings_epoch + 1)
        self._first = max(passed, initial_epoch)
        self._ahead = self._first - initial_epoch

    def on_train_begin(self, logs=None):
        if self._own_passes:
            self._data.set_epoch(self._first)

    def on_epoch_begin(self, epoch, logs=None):
        if self._own_passes:
            self._data.settings_epoch = epoch + self._ahead
        else:
            self._data.set_epoch(epoch + self._ahead)


class FollowChanges(keras.callbacks.Callback):
    """Takes up what the other callbacks changed.

    Args:
        follow_changes: callable without arguments, called when an epoch begins.
        every_batch: bool, whether to call it before every batch too.
    """

    def __init__(self, follow_changes, every_batch=False):
        super().__init__()
        self._follow_changes = follow_changes
        self._every_batch = every_batch

    def on_epoch_begin(self, epoch, logs=None):
        self._follow_changes()

    def on_train_batch_begin(self, batch, logs=None):
        if self._every_batch:
            self._follow_changes()

    def on_test_begin(self, logs=None):
        self._follow_changes()

    def on_test_batch_begin(self, batch, logs=None):
        if self._every_batch:
            self._follow_changes()

    def on_predict_begin(self, logs=None):
        self._follow_changes()


class LastCallback(FollowChanges):
    """`FollowChanges` that keeps Keras's thread pool out.

    Keras hands the logs of every batch to a pool of threads, unless a callback looks at batches;
    that spares its own steps a wait for the device. Ours has floats ready, and the thread pool
    costs more than they do.
    """

    def on_train_batch_end(self, batch, logs=None):
        """Overridden, and that is all that Keras looks at."""

    def on_test_batch_end(self, batch, logs=None):
        """Overridden, as above."""

    def on_predict_batch_end(self, batch, logs=None):
        """Overridden, as above."""


_NOT_EAGER = (
    "run_eagerly=True changes nothing here: Python that is lowered with its layers does not run in "
    "each step. To debug it, keras_dawn.restore(model) brings plain Keras back."
)


class Announcement(keras.callbacks.Callback):
    """Says in one line how the model steps, after the first step of its first `fit`.

    Silent for a model that is native throughout where `verbose=0` was asked for; but it says that
    `run_eagerly=True` or `jit_compile=True` is not followed. It acts before a batch, not after
    one, where it would make Keras wait for the logs of each.

    Args:
        engine: `Engine`.
    """

    def __init__(self, engine):
        super().__init__()
        self._engine = engine
        self._looked = engine.announced

    def on_train_batch_begin(self, batch, logs=None):
        if batch:
            self._look(epoch_ended=False)

    def on_epoch_end(self, epoch, logs=None):
        self._look(epoch_ended=True)

    def _look(self, epoch_ended):
        if self._looked:
            return
        self._looked = True
        eager = bool(getattr(self.model, "run_eagerly", False))  # asked for, and not followed
        loud = self.params.get("verbose") or eager or getattr(self.model, "jit_compile", False)
        if not loud and self._found_whole():
            return  # an earlier `fit` looked, and had nothing to say either
        how = self._engine.explanation(self._engine, convolutions=False)  # this is in every `fit`
        if loud or not how.is_whole():
            self._engine.announced = True
            if current().is_main:
                if self.params.get("verbose") == 1 and not epoch_ended:
                    print(flush=True)  # the progress bar has begun its line
                print(how.line(self.model.name), file=sys.stderr)
                if eager and how.native:
                    print(f"keras_dawn: {_NOT_EAGER}", file=sys.stderr)
        else:
            steps = self._engine.steps
            steps.found_whole = steps.forward.training

    def _found_whole(self):
        steps = self._engine.steps
        if steps is None or steps.forward.training is None:
            return False
        return steps.found_whole is steps.forward.training


class EqualWeights(keras.callbacks.Callback):
    """Begins the averaging of gradients of one `fit`; after each epoch, compares the weights.

    Args:
        begin: callable without arguments, called when the training begins; returns the
            `GradientReduction`.
    """

    def __init__(self, begin):
        super().__init__()
        self._begin = begin
        self._reduction = None

    def on_train_begin(self, logs=None):
        self._reduction = self._begin()

    def on_train_batch_begin(self, batch, logs=None):
        self._reduction.next_step()

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params.get("steps"):
            self._reduction.meet()

    def on_epoch_end(self, epoch, logs=None):
        check_equal_weights(self.model.trainable_variables)


_BATCH_EVENTS = {
    "fit": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "evaluate": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}  # fmt: skip


def watches_batches(callbacks, method):
    """Whether some callback of the user's acts between batches, and may change layers there.

    Args:
        callbacks: list.
        method: str, "fit" for the batches that are trained on, "evaluate" or "predict".
    """
    events = _BATCH_EVENTS[method]
    for callback in callbacks:
        if any(name in vars(callback) for name in events):
            return True  # put on this one callback, as LambdaCallback does
        kind = type(callback)
        known = kind.__module__.startswith(("keras.", "keras_dawn."))
        if known and kind is not keras.callbacks.LambdaCallback:
            continue
        owner = callback if kind is keras.callbacks.LambdaCallback else kind
        plain = keras.callbacks.Callback
        if any(
            getattr(owner, name, None) not in (None, getattr(plain, name))
            and getattr(getattr(owner, name), "__func__", None) is not getattr(plain, name)
            for name in events
        ):
            return True
    return False
