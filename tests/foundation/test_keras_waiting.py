"""Variables that are brought up to date when somebody looks at them."""

import copy

import keras_dawn  # noqa: F401
from keras_dawn.foundation import keras_variables
from keras_dawn.foundation.keras_waiting import wait_to_be_read

import keras
import numpy as np
import pytest


def waiting():
    """Two variables that a function is to add 1 to, and how often it was called."""
    variables, calls = [keras.Variable(np.zeros(n), trainable=False) for n in (2, 3)], []

    def add():
        calls.append(len(calls))
        for variable in variables:
            keras_variables.memory_of(variable).add_(1)

    wait_to_be_read(variables, add)
    return variables, calls


@pytest.mark.parametrize(
    "look",
    [
        lambda variable: variable.value.tolist(),
        lambda variable: variable.numpy().tolist(),
        lambda variable: np.asarray(variable).tolist(),
        lambda variable: keras.ops.convert_to_numpy(variable).tolist(),
        lambda variable: (variable + 0).tolist(),
        lambda variable: keras_variables.memory_of(variable).tolist(),
        lambda variable: copy.deepcopy(variable).numpy().tolist(),
    ],
)
def test_whoever_looks_sees_what_was_waited_for(look):
    (first, second), calls = waiting()
    assert look(first) == [1, 1]
    assert calls == [0]
    assert look(second) == [1, 1, 1] and look(first) == [1, 1]
    assert calls == [0]


def test_what_is_assigned_replaces_what_was_waited_for():
    (first, second), _ = waiting()
    first.assign([5.0, 6.0])
    second.assign_add([1.0, 1.0, 1.0])
    assert first.numpy().tolist() == [5, 6] and second.numpy().tolist() == [2, 2, 2]


def test_variables_have_a_class_of_their_own_name_while_they_wait():
    (first, second), _ = waiting()
    kind = keras.Variable
    assert isinstance(first, kind) and type(first).__name__ == kind.__name__
    first.value  # noqa: B018
    assert type(first) is kind and type(second) is kind
    assert not any("waiting" in name for variable in (first, second) for name in vars(variable))


def test_who_waits_again_has_what_came_before():
    variables, calls = waiting()
    wait_to_be_read(variables[:1], lambda: variables[0].assign_add([10.0, 10.0]))
    assert calls == [0]
    assert variables[0].numpy().tolist() == [11, 11] and variables[1].numpy().tolist() == [1, 1, 1]
