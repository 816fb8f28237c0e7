"""Callbacks that an accelerated model's `fit` adds to those it is given."""

import sys
import warnings
import weakref

from keras_dawn.data.batches import epochs_of
from keras_dawn.distributed.ranks import current
from keras_dawn.native.between_batches import runs_python, watches_batches
from keras_dawn.native.steps.batch_logs import FreshLogs

import keras

# By data: the model that was trained on it last, and the epochs at which it was left.
_LEFT = weakref.WeakKeyDictionary()


class SetEpoch(keras.callbacks.Callback):
    """Tells data which epoch begins, so that `initial_epoch` and a resumed run are right.

    Data that has been through more epochs already counts on: another `fit` from epoch 0 does
    not repeat order and augmentation of the one before.

    Args:
        data: object with `epoch` and `set_epoch`.
        initial_epoch: int, that of the `fit`, and not the one in which a training goes on.
        goes_on: bool, whether a pass over the data goes on over the ends of epochs, as under
            `steps_per_epoch`. Data with a `settings_epoch` then counts its passes itself.
        validation: what is validated on. Where it has a `settings_epoch`, its sizes are those of
            the epoch, however often it has been gone through.
    """

    def __init__(self, data, initial_epoch, goes_on, validation=None):
        super().__init__()
        self._data = data
        follows = hasattr(validation, "settings_epoch") and validation is not data
        self._validation = validation if follows else None
        self._own_passes = goes_on and hasattr(data, "settings_epoch")
        self._found = passed, settings = epochs_of(data)  # before Keras looks at a first batch
        if settings is not None:
            # An earlier `fit` with `steps_per_epoch` counted its epochs there.
            passed = max(passed, settings + 1)
        self._first = max(passed, initial_epoch)
        self._ahead = self._first - initial_epoch

    def on_train_begin(self, logs=None):
        self._warn_of_another_model()
        if self._own_passes:
            self._data.set_epoch(self._first)

    def on_epoch_begin(self, epoch, logs=None):
        if self._own_passes:
            self._data.settings_epoch = epoch + self._ahead
        else:
            self._data.set_epoch(epoch + self._ahead)
        if self._validation is not None:
            self._validation.settings_epoch = epoch + self._ahead

    def on_train_end(self, logs=None):
        if hasattr(self._data, "settings_at"):
            _LEFT[self._data] = weakref.ref(self.model), epochs_of(self._data)

    def _warn_of_another_model(self):
        """Says that the sizes are later ones, as where a loop trains one model after another."""
        if not hasattr(self._data, "settings_at") or not self._first == self._ahead > 0:
            return  # it begins at the epoch that `fit` says
        model, epochs = _LEFT.get(self._data, (None, None))
        if model is None or model() is self.model or epochs != self._found:
            return  # or at one that somebody has chosen since
        now, anew = (
            [self._data.settings_at(epoch + ahead) for epoch in range(self.params["epochs"])]
            for ahead in (self._ahead, 0)
        )
        if now != anew:
            warnings.warn(
                f"Another model was trained on this data up to epoch {self._first}, and "
                f"{self.model.name} goes on from there, with other sizes or transforms than from "
                "the first epoch on: data.set_epoch(0) before `fit` begins anew.",
                stacklevel=2,
            )


class FollowChanges(keras.callbacks.Callback):
    """Takes up what the other callbacks changed.

    Args:
        engine: `Engine`, which is told when an epoch begins.
        follow: callable without arguments, called before every batch too, or `None`.
    """

    def __init__(self, engine, follow=None):
        super().__init__()
        self._engine = engine
        self._follow = follow

    def on_train_begin(self, logs=None):
        self._engine.followed = self._engine.running > 0

    def on_epoch_begin(self, epoch, logs=None):
        self._engine.follow_changes()

    def on_train_batch_begin(self, batch, logs=None):
        if self._follow is not None:
            self._follow()

    def on_test_begin(self, logs=None):
        self._engine.followed = self._engine.running > 0
        self._engine.follow_changes()

    def on_test_batch_begin(self, batch, logs=None):
        if self._follow is not None:
            self._follow()

    def on_predict_begin(self, logs=None):
        self._engine.followed = self._engine.running > 0
        self._engine.follow_changes()


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
        self._begun = False

    def on_train_batch_begin(self, batch, logs=None):
        if self._begun:  # by its number no batch is the first: a training may go on at any
            self._look()
        self._begun = True

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def _look(self):
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
                if self.params.get("verbose") in (1, "auto"):
                    print(flush=True)  # the progress bar has begun its line, and not ended it
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


_OURS = FollowChanges, FreshLogs, Announcement


def with_ours(arguments, engine, name, waits):
    """The callbacks of a `fit`, `evaluate` or `predict`, and those that native steps need.

    Args:
        arguments: dict, what the method is called with.
        engine: `Engine`.
        name: str, the method.
        waits: bool, whether to read the logs of a batch waits for a GPU.

    Returns:
        The `CallbackList` that was given, with more in it, or a list.
    """
    given = arguments.get("callbacks")
    several = isinstance(given, keras.callbacks.CallbackList)
    callbacks = given.callbacks if several else keras.tree.flatten(given) if given else []
    others = [each for each in callbacks if not _is_ours(each, engine)]
    if name != "fit" and len(others) < len(callbacks):
        return given  # an evaluation within a `fit`
    between = watches_batches(others, name)
    if name == "fit":
        engine.watched = between
    # A `fit` evaluates, too.
    follow = None
    if between or watches_batches(others, "evaluate"):
        follow = engine.follow_changes
    elif runs_python(engine.model, arguments):
        follow = engine.follow_python
    ours = [FreshLogs(engine, others)]
    ours += [Announcement(engine)] if name == "fit" and not engine.announced else []
    ours.append((FollowChanges if waits else LastCallback)(engine, follow))
    if not several:
        return [*others, *ours]
    for each in ours:  # as the list did with its own when it was made
        each.set_model(engine.model)
        each.set_params(given.params)
    given.callbacks[:] = [*others, *ours]
    return given


def _is_ours(callback, engine):
    return isinstance(callback, _OURS) and callback._engine is engine
