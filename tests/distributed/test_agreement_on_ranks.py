"""Ranks record and replay CUDA graphs together, or not at all, whatever one of them meets."""

from keras_dawn.native.steps import agreement
from keras_dawn.native.steps.agreement import CAPTURE, NO_MORE, ORDINARY, REPLAY, CaptureAgreement

import agreement_scenarios
import pytest
from comparing import assert_same_trainings, found_by_two_ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return found_by_two_ranks(agreement_scenarios.main, tmp_path_factory.mktemp("agreement"), 200)


def of_both(ranks, name):
    """What both ranks have found, after what holds of every scenario."""
    found = [rank[name] for rank in ranks]
    for one in found:
        assert_same_trainings(one["eager"], one["graphed"])
    for what in ("begun", "replayed"):
        assert found[0][what] == found[1][what]
    return found


@pytest.mark.parametrize("name", ["fails before its work", "fails after its work"])
def test_a_capture_that_fails_on_one_rank_is_none_on_all(name, ranks):
    first, other = of_both(ranks, name)
    assert first["replayed"] == 0 and first["begun"] == 2  # with transforms in it, and without
    assert "another rank makes none" in first["how"] and "out of memory" in other["how"]
    assert "another rank makes none" in first["warned"][-1]
    assert "out of memory" in other["warned"][-1]


def test_transforms_are_left_out_of_the_graph_on_all_ranks(ranks):
    for found in of_both(ranks, "fails with transforms"):
        assert found["begun"] == 2 and found["replayed"] == 3
        assert found["how"] == "the whole step" and len(found["warned"]) == 1


def test_one_rank_that_may_record_nothing(ranks):
    first, other = of_both(ranks, "unfit")
    assert first["begun"] == 0
    assert "another rank makes none" in first["how"] and "something of its own" in other["how"]


def test_a_setting_of_one_rank_alone_makes_all_record_again(ranks):
    for found in of_both(ranks, "another setting"):
        # Back at the first setting, that rank has a graph which nobody has captured with it.
        assert found["begun"] == 3 and found["replayed"] >= 9


def test_graphs_that_one_rank_gives_back_are_made_again_by_all(ranks):
    for found in of_both(ranks, "gives back"):
        assert found["begun"] == 3 and found["replayed"] == 12


def test_batches_that_differ_between_ranks_are_ordinary_steps(ranks):
    for found in of_both(ranks, "last batches differ"):
        assert found["begun"] == 1 and found["how"] == "the whole step"
    for found in of_both(ranks, "all batches differ"):
        assert found["begun"] == 0 and "batches of other shapes" in found["how"]


def answer(monkeypatch, mine, theirs):
    """What two ranks agree on, each told `(may, kinds, number)`; the other is played."""
    sent = []
    with monkeypatch.context() as patched:
        patched.setattr(
            agreement, "least_over_ranks", lambda numbers: sent.append(numbers) or numbers
        )
        CaptureAgreement(True).next_step(*theirs)
        patched.setattr(
            agreement, "least_over_ranks", lambda numbers: list(map(min, numbers, sent[0]))
        )
        return CaptureAgreement(True).next_step(*mine)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ((REPLAY, "a", 1), (REPLAY, "a", 1), (REPLAY, True)),
        ((REPLAY, "a", 1), (REPLAY, "a", 2), (CAPTURE, True)),
        ((REPLAY, "a", 1), (CAPTURE, "a"), (CAPTURE, True)),
        ((REPLAY, "a", 1), (ORDINARY, "a"), (ORDINARY, True)),
        ((REPLAY, "a", 1), (REPLAY, "b", 1), (ORDINARY, False)),
        ((CAPTURE, "a"), (CAPTURE, "b"), (ORDINARY, False)),
        ((REPLAY, "a", 1), (NO_MORE, "b"), (NO_MORE, False)),
    ],
)
def test_what_ranks_agree_on(mine, theirs, expected, monkeypatch):
    assert answer(monkeypatch, mine, theirs) == answer(monkeypatch, theirs, mine) == expected


def test_a_single_process_asks_nobody():
    alone = CaptureAgreement(False)
    assert alone.next_step(REPLAY, "a", 3) == (REPLAY, True)
    assert alone.all_could(True) and not alone.all_could(False)
