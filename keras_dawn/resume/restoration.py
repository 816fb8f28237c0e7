"""Takes a `fit` to where a checkpoint says that its training was."""

import copy

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_fit, keras_metrics
from keras_dawn.foundation.counted import counted
from keras_dawn.foundation.model_state import metric_variables, overwrite
from keras_dawn.foundation.plain_state import from_plain
from keras_dawn.resume.changed_parts import changed_parts
from keras_dawn.resume.compiled_numbers import CompiledNumbers, in_words
from keras_dawn.resume.data_order import check_order
from keras_dawn.resume.description import check_same
from keras_dawn.resume.ended_words import not_taken_up, weights_of
from keras_dawn.resume.keras_states import KerasState
from keras_dawn.resume.messages import say, say_other_names, say_what_goes_on
from keras_dawn.resume.other_ranks import share_of
from keras_dawn.resume.same_callbacks import SameCallbacks
from keras_dawn.resume.same_model import other_logs
from keras_dawn.resume.saved_history import put_history
from keras_dawn.resume.saved_state import implicit
from keras_dawn.resume.training_state import (
    check_format,
    check_weights,
    restore_frozen,
    restore_gradients,
    restore_layouts,
    restore_variables,
)


def find_state(folder, fit, asked):
    """The checkpoint that a `fit` goes on from, or `None`; the same on all ranks.

    Args:
        folder: `CheckpointFolder`.
        fit: int, which `fit` of the training begins.
        asked: bool, whether the script itself has left out those that are done.

    Returns:
        The state, and whether another `fit` of the training has followed that one.

    Raises:
        ValueError: the ranks find different ones.
    """
    state, followed = folder.newest(), False
    if state is not None and state["fit"] != fit and not asked:
        followed = state["fit"] > fit
        state = folder.newest(fit)
    check_agreed(state, folder)
    return state, followed


def check_agreed(state, folder):
    """Raises `ValueError` where the ranks have found different checkpoints; called by all ranks.

    Args:
        state: dict, what this rank has found in its folder, or `None`.
        folder: `CheckpointFolder`.
    """
    if not current().several:
        return
    # A network's folder may show its newest file to some machines only.
    places = gather(state and (state["fit"], state["epoch"], state["step"]))
    if len(set(places)) > 1:
        found = ", ".join(f"rank {rank}: {place}" for rank, place in enumerate(places))
        raise ValueError(
            f"The ranks do not see the same checkpoints in {folder.path} (fit, epoch, step by "
            f"{found}). Give a folder that all of them share."
        )


def is_ended(state, params):
    """Whether a checkpoint leaves its `fit`, of these parameters, nothing to train."""
    return state["stopped"] or state["epoch"] >= params["epochs"]


class Restoration:
    """Puts a state back into a `fit`: when it begins, and again within a half-finished epoch.

    Args:
        model: `keras.Model` in the `fit`.
        state: dict, what the checkpoint holds.
        parts: dict of objects with states, by name.
        position: `DataPosition` of the `fit`.
        path: folder of the checkpoints.
        followed: bool, whether another `fit` of the training has followed.
        callbacks: list of the callbacks beside `ResumeTraining`.
    """

    def __init__(self, model, state, parts, position, path, followed, callbacks):
        self._model, self._state, self._parts = model, state, parts
        self._followed, self._callbacks = followed, callbacks
        self._numbers = CompiledNumbers([], model, callbacks, {})
        self._position, self._path = position, path
        self._same = self._own = None  # `SameCallbacks`, and what of the state is this rank's
        self._logs, self.not_taken_up = {}, []  # names in the logs that are others now; changes

    def begin(self, description, fit, params, set_since):
        """Restores what `on_train_begin` of the others may have set, and says so.

        Args:
            description: what `describe` says of this `fit`.
            fit: int, which `fit` of the training this is.
            params: the parameters of the `fit`, with its epochs.
            set_since: what `numbers_set_since` returned.

        Returns:
            The description that further checkpoints hold.
        """
        state, model = self._state, self._model
        check_format(state, self._path)
        before, ranks = state["description"], current()
        same_fit = state["fit"] == fit
        # Another `fit` of the script may train with other settings on other data.
        rates, taken_up, since = [], [], []
        if same_fit:
            rates, taken_up = check_same(state, description, self._path, state["step"])
            since, self._logs = set_since, other_logs(before, description)
        check_weights(state, model, self._path)
        self._same = same = SameCallbacks(before["callbacks"], description["callbacks"])
        tracked = {name for name in state["parts"] if same.is_of_none(name)}
        self._state = state = {
            **state,
            "parts": same.renamed(state["parts"]),
            "rank_parts": [same.renamed(parts) for parts in state["rank_parts"]],
        }
        several = len(state["data"])
        if several != ranks.world_size:
            check_order(before["order"], description["order"], several, self._path)
        self._own = share_of(
            state, ranks.rank, ranks.world_size, model, self._position.generators,
            implicit(self._parts),
        )  # fmt: skip
        restore_frozen(model, state)
        restore_layouts(model, state)
        self._restore()
        restore_gradients(model, state["gradients"])
        if same_fit:  # `fit` resets them; one that counts over epochs goes on
            self._restore_metrics()
        # After the parts: what they draw while they are restored must not count.
        self._position.put_back_now(self._own["data"])
        if self._followed or (same_fit and is_ended(state, params)):
            keras_fit.set_first_epoch(model, max(params["epochs"], 1))
            weights = weights_of(state, params, self._callbacks)
            say(f"already complete: nothing trained; {weights}", self._path)
            changed = [in_words(*rate[1:]) for rate in rates + since] + taken_up
            if same_fit:
                epochs = self._other_epochs(params) if params["epochs"] > state["epoch"] else []
                changed += epochs + self._other_changes(description, tracked)
            if changed and not self._followed:
                self.not_taken_up = changed
                say(not_taken_up(changed, state, self._path), self._path)
            return before
        if same_fit or not state["complete"]:
            self._position.take_up(self._own["data"], state["step"], state["stopping"])
        keras_fit.set_first_epoch(model, state["epoch"])
        settings = description["settings"]
        self._numbers = CompiledNumbers(rates, model, self._callbacks, settings, since)
        self._numbers.write()
        for line in self._numbers.said_of_kept:
            say(line, self._path)
        if same_fit:
            self._numbers.describe(before["numbers"], description["numbers"])
        taken_up += self._numbers.taken_up
        say_what_goes_on(self._parts, self._path)
        if same_fit:
            taken_up += self._other_epochs(params) + self._other_changes(description, tracked)
            say_other_names(before, description, self._logs, self._path)
        description["taken_up"] = list(before.get("taken_up", ()))
        if taken_up:
            say(f"takes up what has changed: {', '.join(taken_up)}", self._path)
            where = f"from epoch {state['epoch'] + 1}, step {state['step'] + 1} on"
            description["taken_up"] += [f"{where}: {words}" for words in taken_up]
        if same_fit and same.new:
            names = ", ".join(same.new)
            say(f"{names} {'are new: begin' if same.new[1:] else 'is new: begins'} now", self._path)
        return description

    def enter(self, steps):
        """Restores what `on_epoch_begin` of the others may have done, within an epoch.

        Args:
            steps: int, those of the epoch, or `None` if that is not known.
        """
        state, several, ranks = self._state, len(self._state["data"]), current().world_size
        where = f"goes on at epoch {state['epoch'] + 1}, step {state['step'] + 1}"
        where += f" of {steps}" if steps else ""
        if steps and state["step"] >= steps:
            where = f"goes on at epoch {state['epoch'] + 1}, after the last of its {steps} steps"
        other = f", with {ranks} in place of {counted(several, 'rank')}" if several != ranks else ""
        say(where + other, self._path)
        self._restore_history()
        if not state["step"]:
            return
        # Once more: callbacks that begin an epoch set counters and rates of a fresh one.
        self._restore()
        self._numbers.write()
        self._restore_metrics()
        keras_metrics.end_without_steps(self._model)
        # A callback had asked for the end within this epoch: no step of it is left.
        self._model.stop_training = state["stopping"]

    def end(self):
        """Restores what a `fit` in which nothing was left to do returns."""
        self._restore_history()
        self._model.stop_training = bool(self._state["stopped"])

    def _other_epochs(self, params):
        epochs = self._state["description"].get("epochs", params["epochs"])
        return [f"epochs {epochs} → {params['epochs']}"] * (epochs != params["epochs"])

    def _other_changes(self, description, tracked):
        """What the script has changed beside model, data and numbers, as list of str."""
        changed = changed_parts(self._state, description, self._same)
        gone = [name for name in sorted(tracked - set(self._parts)) if " of " not in name]
        return changed + [f"{name} left out" for name in self._same.left_out + gone]

    def _restore(self):
        state, parts = self._state, self._parts
        restore_variables(self._model, state, self._own["statistics"])
        missing = set(parts) - set(state["parts"]) - implicit(parts)
        missing = {name for name in missing if not self._same.may_begin_now(name)}
        if missing:
            named = [self._same.in_words(name).removeprefix("state of ") for name in missing]
            raise ValueError(
                f"The checkpoint in {self._path} has no state of {', '.join(sorted(named))}: the "
                "training it was saved from did not have them. Train with the same callbacks, or "
                "give another folder."
            )
        of_rank = self._own["parts"]
        for name, part in parts.items():
            if name not in state["parts"]:
                continue
            saved = from_plain(state["parts"][name])
            if name in of_rank:  # what differs by rank goes over what rank 0 saved for all
                saved = {**saved, **from_plain(of_rank[name])}
            # A copy each time: a part may change in place what it is given, and is given it twice.
            part.load_state_dict(copy.deepcopy(saved))
            if isinstance(part, KerasState):
                part.rename_logs(self._logs)

    def _restore_metrics(self):
        for metric, value in zip(metric_variables(self._model), self._own["metrics"], strict=True):
            overwrite(metric.value, value)

    def _restore_history(self):
        state = self._state
        put_history(self._model.history, state["history_epochs"], state["history"], self._logs)
