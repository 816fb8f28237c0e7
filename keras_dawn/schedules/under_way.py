"""The schedules that have not reached their ends, by the optimizer whose numbers they set."""

import weakref

from keras_dawn.foundation import hyperparameters

# Of each the schedule and what it found: an interrupted `fit` ends none.
_UNDER_WAY = weakref.WeakKeyDictionary()


def begin(schedule, optimizer, found):
    """Notes a schedule that begins.

    Args:
        schedule: `ParameterSchedule`.
        optimizer: the optimizer itself, not one around it that scales the loss.
        found: dict from the attributes that it sets to what they were.
    """
    _UNDER_WAY.setdefault(optimizer, []).append((schedule, found))


def end(schedule, optimizer):
    """Notes that a schedule has set back what it found."""
    _UNDER_WAY[optimizer] = [one for one in _UNDER_WAY[optimizer] if one[0] is not schedule]


def schedules_of(optimizer):
    """List of the schedules under way."""
    return [schedule for schedule, _ in _of(optimizer)]


def scheduled(optimizer):
    """The attributes of an optimizer that the schedules of a `fit` under way set."""
    return {attribute for _, found in _of(optimizer) for attribute in found}


def was_scheduled(optimizer):
    """Whether schedules have set an optimizer's hyper-parameters in this process."""
    return hyperparameters.unwrap(optimizer) in _UNDER_WAY


def end_schedules(optimizer):
    """Sets back what schedules have set whose `fit` was interrupted."""
    for schedule in schedules_of(optimizer):
        schedule.set_back()


def rate_without_schedules(model):
    """The learning rate that a model was compiled with or set to, or `None`."""
    optimizer = hyperparameters.unwrap(getattr(model, "optimizer", None))
    if optimizer is None:
        return None
    for _, found in _of(optimizer):  # of an interrupted `fit`
        if "learning_rate" in found:
            return found["learning_rate"]
    return hyperparameters.rate_in_variable(optimizer)


def _of(optimizer):
    return _UNDER_WAY.get(hyperparameters.unwrap(optimizer), [])
