"""What `ResumeTraining` says of attributes whose state it keeps for whoever has none to give."""

import sys

from keras_dawn.distributed.ranks import current
from keras_dawn.resume.described_settings import variables_of_optimizers
from keras_dawn.resume.plain_attributes import NamesOfFunction
from keras_dawn.resume.same_model import other_names
from keras_dawn.resume.saved_state import implicit


def say(what, path):
    """Prints a line, on one rank."""
    if current().is_main:
        print(f"ResumeTraining ({path}): {what}.", file=sys.stderr, flush=True)


def say_what_is_not_seen(parts, path):
    """Names, as a training begins, the objects in which a change would not be seen."""
    unseen = {
        name: parts[name].unseen for name in sorted(implicit(parts)) if parts[name].unseen
    }  # fmt: skip
    if unseen:
        named = "; ".join(f"{name}: {', '.join(values)}" for name, values in unseen.items())
        say(
            "a checkpoint does not hold what changes within some objects, which begin anew in a "
            f"restart unless what holds them has state_dict and load_state_dict ({named})",
            path,
        )


def say_that_data_is_read_again(path):
    """Says, as a training begins, what a restart asks of data that does not tell its place."""
    say(
        "the data only reads on and does not tell its place, so that a restart fetches again what "
        "was trained on, and is refused if these are other batches, such as those of a shuffled "
        "buffer or of random numbers that others draw from too; state_dict and load_state_dict "
        "in the data spare it both",
        path,
    )


_SAID = ("attributes of", "settings of")


class Losses:
    """Names what a checkpoint cannot hold as soon as one is saved without it, once.

    Args:
        path: folder of the checkpoints.
    """

    def __init__(self, path):
        self._path, self._named = path, set()

    def say(self, states):
        """Takes the states that a checkpoint holds, by the names of the parts."""
        for name, state in states.items():
            if name.startswith(_SAID) and state["lost"] and name not in self._named:
                self._named.add(name)
                say(
                    f"{name} would begin anew in a restart, as a checkpoint cannot hold all that "
                    f"has changed among them: {', '.join(state['lost'])}; give it state_dict and "
                    "load_state_dict",
                    self._path,
                )


class OtherOptimizers:
    """Names, once, optimizers that were compiled anew in the training, for other weights.

    The next process compiles as the script does, and cannot take up what these keep.

    Args:
        model: compiled `keras.Model`, as its training begins.
        path: folder of the checkpoints.
    """

    def __init__(self, model, path):
        self._path, self._kept = path, variables_of_optimizers(model)

    def say(self, model):
        """Looks at the optimizers that the model has by now."""
        now = variables_of_optimizers(model)
        if self._kept is None or now == self._kept:
            return
        if None in self._kept and len(now) == len(self._kept):
            self._kept = now  # built by the first step
            return
        counts = [sum(map(len, filter(None, each))) for each in (self._kept, now)]
        self._kept = None
        say(
            f"the model was compiled anew in this fit, and its optimizers keep {counts[1]} "
            f"variables in place of {counts[0]}: a restart from here on will be refused. Freeze "
            "layers by `trainable` without compiling, or train on in another `fit`",
            self._path,
        )


def say_other_names(then, now, logs, path):
    """Names, in a restart, what is called otherwise in a model, or in its logs.

    Args:
        then, now: what `describe` returned, in the process before and in this one.
        logs: what `other_logs` returned of them.
        path: folder of the checkpoints.
    """
    if names := other_names(then, now):
        say(names, path)
    if logs:
        names = ", ".join(f"{old} → {new}" for old, new in logs.items())
        say(f"the logs, history and CSVLogger go on under other names: {names}", path)


def say_what_goes_on(parts, path):
    """Names, in a restart, the attributes that go on, and those that do not."""
    for part in parts.values():
        if to_say := getattr(part, "to_say", None):
            say(to_say, path)
    for name in sorted(implicit(parts)):
        part = parts[name]
        if isinstance(part, NamesOfFunction):
            name = name.replace("attributes of", "values that are used by", 1)
        if part.kept:
            say(f"{name} go on: {', '.join(part.kept)}", path)
        if part.unsaved:
            say(
                f"{name} that the script, or an attempt after the checkpoint, has changed stay so: "
                f"{', '.join(part.unsaved)}",
                path,
            )
        if part.other:
            say(
                f"{name} that began as other values than before stay as the script has them: "
                f"{', '.join(part.other)}",
                path,
            )
        if part.lost:
            say(
                f"{name} begin anew, as a checkpoint cannot hold all that has changed among "
                f"them: {', '.join(part.lost)}; give it state_dict and load_state_dict",
                path,
            )
