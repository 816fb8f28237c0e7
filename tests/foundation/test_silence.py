"""Warnings that are not shown, and those that still are."""

import warnings

from keras_dawn.foundation.arrays import tensor_of
from keras_dawn.foundation.silence import silenced

import numpy as np


def of_mine():
    warnings.warn("of mine", stacklevel=1)


def test_only_the_text_that_is_named_is_silenced():
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True, action="always") as said:
        with silenced("Of no"):
            warnings.warn("of no interest", stacklevel=1)
            of_mine()
        warnings.warn("of no interest", stacklevel=1)
    assert [str(one.message) for one in said] == ["of mine", "of no interest"]
    assert warnings.filters == before


def test_a_warning_that_was_shown_is_not_shown_again():
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    with warnings.catch_warnings(record=True, action="default") as said:
        for _ in range(3):
            of_mine()
            tensor_of(frozen)
            with silenced():
                of_mine()
    assert [str(one.message) for one in said] == ["of mine"]


def test_a_warning_that_was_silenced_is_shown_later():
    with warnings.catch_warnings(record=True, action="default") as said:
        with silenced():
            of_mine()
        of_mine()
    assert len(said) == 1
