"""What `ResumeTraining` does in one `fit`, after all other callbacks."""

import sys
import time

from keras_dawn.dawnbench.time_to_accuracy import clocks_paused
from keras_dawn.distributed.collectives import Agreement
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_fit
from keras_dawn.resume import messages
from keras_dawn.resume.compiled_numbers import leave_numbers
from keras_dawn.resume.data_order import DataOrder
from keras_dawn.resume.data_position import DataPosition
from keras_dawn.resume.description import describe
from keras_dawn.resume.eviction import INTERRUPTED, Evicted
from keras_dawn.resume.finite_weights import are_finite, in_words
from keras_dawn.resume.keras_states import append
from keras_dawn.resume.loader_workers import let_workers_outlive, start_workers_anew
from keras_dawn.resume.one_training import check_not_another
from keras_dawn.resume.own_settings import describe_parts
from keras_dawn.resume.restoration import Restoration, find_state, is_ended
from keras_dawn.resume.same_callbacks import describe_callbacks
from keras_dawn.resume.saved_history import history_state
from keras_dawn.resume.saved_state import SavedStates, check_states
from keras_dawn.resume.shared_folder import check_shared
from keras_dawn.resume.training_state import collect

import keras

_TIME = 1  # why a step is saved, below EVICTED and INTERRUPTED: the most pressing wins


class LastWord(keras.callbacks.Callback):
    """Restores when all others have begun, and saves when all have had their say.

    Args:
        resume: `ResumeTraining`.
        fit: int, which `fit` of the training this is.
        callbacks: the `CallbackList` that calls.
        iterator: the `EpochIterator` of the `fit`.
        asked: bool, whether the script leaves out `fit`s that are done by itself.
    """

    def __init__(self, resume, fit, callbacks, iterator, asked):
        super().__init__()
        self._resume, self._fit, self._asked = resume, fit, asked
        self._iterator = iterator
        self._folder, self._notices, self._paid = resume.folder, resume.notices, resume.paid
        tracked = {id(part) for part in [self._resume, *resume.tracked.values()]}
        self._others = [one for one in callbacks.callbacks if id(one) not in tracked]
        self._agreement = Agreement()
        self._restoration, self._losses = None, messages.Losses(self._folder.path)
        self._saved_at = time.monotonic()

    def on_train_begin(self, logs=None):
        if current().is_main:
            self._folder.take()
            self._paid.begin()
        try:
            self._begin()
        except BaseException:
            self._let_go()
            raise

    def _begin(self):
        keras_fit.set_first_epoch(self.model, 0)  # one that failed before its first has left it
        check_shared(self._folder.path)
        state, followed = find_state(self._folder, self._fit, self._asked)
        self._order = DataOrder(self._iterator, state and state["description"].get("order"))
        description = describe(
            self.model, self._iterator, self._order.name, self._others, self.params["epochs"]
        )
        self._position = DataPosition(
            self._iterator, self._notices.takes_signals, keras_fit.validation_data(self.model)
        )
        # Now that the others have begun: what they set then is this process's.
        elsewhere = [self._resume, *self._resume.tracked.values(), *self._position.objects]
        self._states = states = SavedStates(self.model, self._others, elsewhere)
        self._parts = {**states.parts, **self._resume.tracked}
        check_states(self._parts)
        messages.say_what_is_not_seen(self._parts, self._folder.path)
        if state is None and self._position.has_no_place:
            messages.say_that_data_is_read_again(self._folder.path)
        description["taken_up"] = self._resume.taken_up
        description["callbacks"] = describe_callbacks(states.names)
        description["parts"] = describe_parts(self.model, states.names)
        ended = followed or (
            state is not None and state["fit"] == self._fit and is_ended(state, self.params)
        )
        check_not_another(self._resume, self._fit, state, description, ended)
        self._notices.start(self._iterator)
        if state is None and self._fit:
            what = f"the fit before has ended; this one is fit {self._fit + 1} of the training in"
            messages.say(f"{what} this folder", self._folder.path)
        if state is not None:
            self._restoration = Restoration(
                self.model, state, self._parts, self._position, self._folder.path, followed,
                self._others,
            )  # fmt: skip
            description = self._restoration.begin(
                description, self._fit, self.params, self._resume.set_since
            )
            self._resume.not_taken_up = self._restoration.not_taken_up
        else:
            states.tell("begin")
        self._description = description
        self._resume.taken_up = description.get("taken_up", [])
        self._compiled = messages.OtherOptimizers(self.model, self._folder.path)
        if state is None and append(self._others):
            self._save(0, 0)

    def on_epoch_begin(self, epoch, logs=None):
        keras_fit.set_first_epoch(self.model, 0)  # of this `fit` alone: the next has its own
        restoration, self._restoration = self._restoration, None
        if restoration is not None:
            restoration.enter(self.params.get("steps"))
        self._order.begin_epoch(epoch)
        self._epoch = epoch
        self._agreement = Agreement()

    def on_test_begin(self, logs=None):
        validation = keras_fit.validation_data(self.model)
        start_workers_anew(validation)
        if self._notices.takes_signals:
            let_workers_outlive(validation)

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        last = step == self.params.get("steps")
        if current().is_main:
            self._paid.note_now_and_then()
        why = self._why_now()
        every = self._resume.every_steps
        due = bool(every) and step % every == 0
        if why or (due and not last):  # the end of the epoch saves soon after
            with clocks_paused(self._others):  # by DAWNBench's rules, saving is no training
                self._save(self._epoch, step)
            if why == _TIME:
                self._agreement = Agreement()  # that wish is granted
            if why > _TIME:
                self._leave(why)

    def _why_now(self):
        """Why this step is to be saved, 0 if it is not; on several ranks, the same everywhere."""
        seconds = self._resume.every_seconds
        late = seconds is not None and self._seconds_since_saved() >= seconds
        if not current().several:
            return self._notices.told() or int(late)
        if seconds is None and not self._notices.any:
            return 0
        # By rank 0's clock: the others' differ, and all have to save the same step.
        return self._agreement.exchange(self._notices.told() or int(late and current().is_main))

    def on_epoch_end(self, epoch, logs=None):
        told = self._notices.told()
        if current().several:
            told = self._agreement.settle(told)
        self._save(epoch + 1, 0)  # the place to go on from: the next epoch's first step
        if told > _TIME:
            self._leave(told)

    def on_train_end(self, logs=None):
        keras_fit.set_first_epoch(self.model, 0)
        if self._restoration is not None:  # nothing was left to do
            self._restoration.end()
        self._states.tell("end")
        told = self._notices.told()
        self._let_go()
        if told:  # it came while the others ended: all is saved
            self._say_that_it_is_saved()
            raise KeyboardInterrupt("asked to stop") if told == INTERRUPTED else Evicted()

    def _leave(self, why):
        self._states.tell("leave")
        leave_numbers(self.model)
        self._let_go()
        self._say_that_it_is_saved()
        if why == INTERRUPTED:
            saved = "" if self._folder.is_behind else "; the training was saved"
            raise KeyboardInterrupt(f"asked to stop{saved}")
        raise Evicted()

    def _say_that_it_is_saved(self):
        if not current().is_main:
            return
        what = f"saved to {self._folder.path}. The same command goes on from there."
        if self._folder.is_behind:
            last = self._folder.last_name()
            where = f"{last} in {self._folder.path}" if last else "the beginning"
            what = f"the last steps could not be saved. The same command goes on from {where}."
        print(f"Asked to stop: {what}", file=sys.stderr, flush=True)

    def _let_go(self):
        """Ends what runs beside the training."""
        self._folder.finish()
        self._notices.stop()
        if current().is_main:
            self._paid.note()
            self._folder.close()

    def _save(self, epoch, step):
        stops = bool(self.model.stop_training) and step == 0
        if not self._is_finite(epoch, step, stops):
            return
        # On all ranks: each has random numbers and moving averages of its own to give.
        state = collect(self.model, self._parts, self._position.now(step))
        if state is None:
            return
        history = self.model.history
        self._losses.say(state["parts"])
        self._compiled.say(self.model)
        self._paid.note()
        self._folder.save(
            (self._fit, epoch, step),
            {
                **state,
                "fit": self._fit,
                "epoch": epoch,
                "step": step,
                "stopped": stops,
                "stopping": bool(self.model.stop_training),
                "complete": stops or (step == 0 and epoch >= self.params["epochs"]),
                "description": self._description,
                "history_epochs": list(history.epoch),
                "history": history_state(history),
            },
        )
        self._saved_at = time.monotonic()  # now that it is written, which may take longer

    def _seconds_since_saved(self):
        if self._folder.is_writing():  # in a thread: a further one would be waited for
            return 0
        return time.monotonic() - max(self._saved_at, self._folder.written_at)

    def _is_finite(self, epoch, step, stops):
        """Refuses to replace good checkpoints by one that cannot be gone on from."""
        if are_finite(self.model):
            return True
        message = in_words(epoch, step, self._folder)
        if stops:  # `TerminateOnNaN` or another has ended it already
            if current().is_main:
                print(message, file=sys.stderr)
            return False
        leave_numbers(self.model)  # a notebook may lower the rate, and try again
        self._let_go()
        raise FloatingPointError(message)
