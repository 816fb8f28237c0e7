"""What the rehearsal of ImageNet says of an epoch's memory and photos; its ranks are made up."""

from types import SimpleNamespace

import keras_dawn

import imagenet_rehearsal_parts
import numpy as np
import pytest
from imagenet_rehearsal_parts import BATCH

ONCE = np.ones(20 * BATCH, np.uint8)  # the fewest photos of which memory is judged


def epoch(monkeypatch, held, served=ONCE):
    """The part `epoch`, of ranks that `held` so many MiB after each tenth; the first served all."""
    found = [
        {"held_mib": mib, "served": served * (rank == 0), "at": 0.0}
        for rank, mib in enumerate(held)
    ]
    flags = SimpleNamespace(epoch_images=len(served), images=10**6, ranks=len(held))
    monkeypatch.setattr(imagenet_rehearsal_parts, "FLAGS", flags)
    monkeypatch.setattr(keras_dawn.distributed, "launch", lambda *given, processes: found)
    return imagenet_rehearsal_parts.epoch("photos")


def test_memory_that_comes_and_goes_is_told(monkeypatch):
    served = np.append(ONCE, np.zeros(7, np.uint8))
    found = epoch(monkeypatch, [[900.0, 990.0, 931.0], [900.0, 800.0, 850.0]], served)
    assert found["growth_mib_from_first_tenth_to_last"] == [31.0, -50.0]
    assert (found["served_once"], found["left_over"]) == (20 * BATCH, 7)


def test_memory_that_grows_on_one_rank_fails(monkeypatch):
    with pytest.raises(AssertionError, match=r"memory grows over an epoch by \[0.0, 32.0\] MiB"):
        epoch(monkeypatch, [[900.0, 900.0], [900.0, 932.0]])


def test_the_first_steps_of_a_training_may_take_memory(monkeypatch):
    found = epoch(monkeypatch, [[900.0, 1500.0]], ONCE[BATCH:])
    assert found["growth_mib_from_first_tenth_to_last"] == [600.0]


@pytest.mark.parametrize("counts", [(2, 1), (2, 0), (1, 0)])
def test_a_photo_that_is_served_twice_or_left_out_fails(counts, monkeypatch):
    served = ONCE.copy()
    served[:2] = counts
    with pytest.raises(AssertionError, match="photos are not served once each"):
        epoch(monkeypatch, [[900.0, 900.0]], served)
