"""Numbers of things in words."""

from keras_dawn.foundation.counted import counted

import pytest


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1000, "1,000 epochs")]
)
def test_one_of_a_kind_has_no_s(number, words):
    assert counted(number, "epoch") == words
