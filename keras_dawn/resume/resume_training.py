"""Goes on with a training that was cut off, at the step of its last checkpoint."""

import sys
import time

from keras_dawn.callbacks.pass_over import PassOver, passing_over
from keras_dawn.dawnbench.paid_time import PaidTime
from keras_dawn.distributed.collectives import Agreement
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_internals
from keras_dawn.foundation.random_state import random_state, set_random_state
from keras_dawn.resume.checkpoints import CheckpointFolder
from keras_dawn.resume.eviction import INTERRUPTED, Evicted, Notices
from keras_dawn.resume.saved_state import callbacks_of_fit, with_states
from keras_dawn.resume.training_state import (
    check_state,
    collect,
    metric_variables,
    restore_variables,
)

import keras
import torch

_TIME = 1  # why a step is saved, below EVICTED and INTERRUPTED: the most pressing wins


class ResumeTraining(keras.callbacks.Callback):
    """Saves everything that a training is, and goes on from the newest whole checkpoint.

    A run that was killed and started again with the same script ends with the same weights as
    one that was not. Saved are the weights, the buffers of torch modules in the model, all its
    optimizers with their hyper-parameters, epoch and step, the metrics of a half-finished
    epoch, the history, the state of Python's, NumPy's and torch's random numbers of every rank,
    the state of every callback with `state_dict` and `load_state_dict`, yours or this package's
    (the averages of the weights, the epochs and the time of `TimeToAccuracy`), and whatever is
    tracked (`track`). On resumption, the batches of the epoch that were trained on already are
    passed over.

    A checkpoint is written beside its place, with its SHA-256, and moved there; a damaged one
    is passed over with a warning, and the one before it is used. Where the disk is full, a
    warning says so and the training goes on. Weights that are not finite are not saved; they
    end the training. Put this last among the callbacks. On several ranks the folder must be one
    that all of them see; rank 0 writes. On a GPU, files are written beside the training.

    SIGTERM, a notice of eviction and SIGINT save after the step under way, or after a validation
    under way, and end the training: the first two with the exit code 75, SIGINT with
    `KeyboardInterrupt`. A second SIGINT acts at once.

    Args:
        directory: folder for the checkpoints.
        every_steps: int, in how many steps within an epoch to save, or `None`.
        every_seconds: float, how long after the last save to save within an epoch, by rank 0's
            clock, or `None`. Without either it saves after every epoch only.
        keep: int from 1 up, how many checkpoints to keep.
        data: what was given to `fit`, if it has `set_epoch` and the model is not accelerated.
        save_on_signal: bool, whether to take SIGTERM and SIGINT as above, while `fit` runs in
            the main thread.
        notice: `keras_dawn.resume.eviction.EvictionNotice`, or `None` to ask no cloud.

    Attributes:
        paid: `PaidTime` of all processes that trained from this folder, on rank 0.

    Raises:
        ValueError: bad numbers, a callback with a state that comes after this one, or a
            checkpoint of another model, format or number of ranks.
        OSError: when the training begins: the folder cannot be written, or another process
            trains from it.
        FloatingPointError: weights that are not finite.

    Example:
        >>> resume = ResumeTraining("checkpoints", every_steps=500)     # doctest: +SKIP
        >>> model.fit(train, epochs=30, callbacks=[resume])             # doctest: +SKIP
    """

    def __init__(
        self,
        directory,
        *,
        every_steps=None,
        every_seconds=None,
        keep=2,
        data=None,
        save_on_signal=True,
        notice=None,
    ):
        super().__init__()
        if every_seconds is not None and not every_seconds > 0:
            raise ValueError(f"`every_seconds` must be above 0, got {every_seconds!r}.")
        for name, value in (("every_steps", every_steps), ("keep", keep)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"`{name}` must be a whole number from 1 up, got {value!r}.")
        self.every_steps, self.every_seconds = every_steps, every_seconds
        self._folder = CheckpointFolder(directory, keep)
        self.paid = PaidTime(directory)
        self._notices = Notices(save_on_signal, notice)
        self._agreement = Agreement()
        self._data = data
        self._tracked = {}
        self._with_states = {}
        self._loaded = self._state = None
        self._saved_at = time.monotonic()

    def track(self, name, part):
        """Saves and restores something else, with `state_dict()` and `load_state_dict(state)`."""
        self._tracked[name] = part

    def next_epoch(self):
        """The epoch (0-based) that the training will go on in; 0 without a checkpoint."""
        state = self._load()
        return state["epoch"] if state else 0

    def on_train_begin(self, logs=None):
        self._find_callbacks()
        if current().is_main:
            self._folder.take()
            self.paid.begin()
        self._notices.start()
        state = self._load()
        if state is None or self._state is not None:  # nothing saved, or restored already
            return
        self._state = state
        check_state(state, self.model, self._folder.path)
        restore_variables(self.model, state)
        self._restore_parts(state)
        keras_internals.set_first_epoch(self.model, state["epoch"])

    def on_epoch_begin(self, epoch, logs=None):
        keras_internals.set_first_epoch(self.model, 0)
        if self._data is not None:
            self._data.set_epoch(epoch)
        state = self._state
        if state is not None and not state.get("entered"):
            state["entered"] = True
            self._enter(state)
        self._epoch, self._random_at_start = epoch, random_state()
        self._agreement = Agreement()

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        last = step == self.params.get("steps")
        if passing_over(self.model):
            if last:
                self.model.train_function.finish()
            return
        if current().is_main:
            self.paid.note_now_and_then()
        why = self._why_now()
        due = bool(self.every_steps) and step % self.every_steps == 0
        if why or (due and not last):  # the end of the epoch saves soon after
            self._save(self._epoch, step, {})
            if why == _TIME:
                self._agreement = Agreement()  # that wish is granted
            if why > _TIME:
                self._leave(why)

    def _why_now(self):
        """Why this step is to be saved, 0 if it is not; on several ranks, the same everywhere."""
        late = self.every_seconds is not None and (
            time.monotonic() - self._saved_at >= self.every_seconds
        )
        if not current().several:
            return self._notices.told() or int(late)
        if self.every_seconds is None and not self._notices.any:
            return 0
        return self._agreement.exchange(self._notices.told() or int(late and current().is_main))

    def on_epoch_end(self, epoch, logs=None):
        told = self._notices.told()
        if current().several:
            told = self._agreement.settle(told)
        self._save(epoch + 1, 0, {epoch: dict(logs or {})})
        if told > _TIME:
            self._leave(told)

    def _leave(self, why):
        self._let_go()
        if current().is_main:
            print(
                f"Told to end: saved to {self._folder.path}. The same command goes on from there.",
                file=sys.stderr,
                flush=True,
            )
        if why == INTERRUPTED:
            raise KeyboardInterrupt("told to end; the training was saved")
        raise Evicted()

    def _let_go(self):
        """Ends what runs beside the training."""
        self._folder.finish()
        self._notices.stop()
        if current().is_main:
            self.paid.note()
            self._folder.close()

    def on_train_end(self, logs=None):
        keras_internals.set_first_epoch(self.model, 0)
        if self._state is not None and not self._state.get("entered"):  # nothing was left to do
            self._state["entered"] = True
            self._restore_history(self._state)
        self._let_go()

    def _find_callbacks(self):
        """Notes the callbacks of this `fit` whose states are saved and restored."""
        callbacks = callbacks_of_fit(self)
        tracked = {id(part) for part in self._tracked.values()}
        parts = with_states([one for one in callbacks if id(one) not in tracked])
        place = callbacks.index(self) if callbacks else 0
        later = [name for name, one in parts.items() if callbacks.index(one) > place]
        if later:
            raise ValueError(
                f"ResumeTraining must come after {', '.join(later)} in the list of callbacks: what "
                "it restores has to have begun. Put it last."
            )
        self._with_states = parts

    def _parts(self):
        """The callbacks and what else has a state of its own, by name."""
        return {**self._with_states, **self._tracked}

    def _restore_parts(self, state):
        parts = self._parts()
        if missing := set(parts) - set(state["parts"]):
            raise ValueError(
                f"The checkpoint in {self._folder.path} has no state of "
                f"{', '.join(sorted(missing))}: it is of a training without. Train with the same "
                "callbacks, or give another folder."
            )
        of_rank = state["rank_parts"][current().rank]
        for name, part in parts.items():
            part.load_state_dict({**state["parts"][name], **of_rank.get(name, {})})

    def _restore_history(self, state):
        history = self.model.history
        history.epoch = list(state["history_epochs"])
        history.history = {name: list(values) for name, values in state["history"].items()}

    def _enter(self, state):
        """Takes up a half-finished epoch, or the beginning of one."""
        self._restore_history(state)
        rank = current().rank
        set_random_state(state["random_at_start"][rank])
        if state["step"]:
            metrics = zip(metric_variables(self.model), state["metrics"][rank], strict=True)
            for variable, value in metrics:
                variable.value.data.copy_(value)
            self.model.train_function = PassOver(
                self.model, state["step"], lambda: set_random_state(state["random"][rank])
            )

    def _load(self):
        if self._loaded is None:
            self._loaded = (self._folder.newest(),)
        return self._loaded[0]

    def _save(self, epoch, step, new_logs):
        self._check_finite(epoch, step)
        self._saved_at = time.monotonic()
        state = collect(self.model, epoch, step, self._parts(), self._random_at_start)
        if state is None:
            return
        history = self.model.history
        epochs, rows = list(history.epoch), {k: list(v) for k, v in history.history.items()}
        for number, logs in new_logs.items():
            epochs.append(number)  # Keras's History runs after this callback
            for name, value in logs.items():
                rows.setdefault(name, []).append(value)
        self.paid.note()
        self._folder.save(epoch, step, {**state, "history_epochs": epochs, "history": rows})

    def _check_finite(self, epoch, step):
        """Refuses to replace good checkpoints by one that cannot be gone on from."""
        weights = [v.value.detach() for v in self.model.trainable_variables]
        if not weights or bool(torch.stack(torch._foreach_norm(weights)).isfinite().all()):
            return
        files = self._folder.files()
        kept = f"{files[-1]} is the last good one" if files else "there is no good one yet"
        self._let_go()
        raise FloatingPointError(
            f"The weights are not finite in epoch {epoch + 1} after step {step}, so no checkpoint "
            f"is written; {kept}. Lower the learning rate, or clip the gradients, and start again "
            "from there."
        )
