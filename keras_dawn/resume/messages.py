"""What `ResumeTraining` says of attributes whose state it keeps for whoever has none to give."""

import sys

from keras_dawn.distributed.ranks import current
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


def say_what_goes_on(parts, path):
    """Names, in a restart, the attributes that go on, and those that do not."""
    for name in sorted(implicit(parts)):
        part = parts[name]
        if part.kept:
            say(f"{name} go on: {', '.join(part.kept)}", path)
        if part.back:
            say(
                f"{name} that an earlier attempt had changed after the checkpoint are as when the "
                f"training began: {', '.join(part.back)}",
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
