"""Processes that start again find each other, whatever their forerunners left in the store."""

import datetime
from concurrent.futures import ThreadPoolExecutor

from keras_dawn.distributed import rendezvous

import pytest
import torch.distributed as dist

SHORT = datetime.timedelta(seconds=0.3)
LONG = datetime.timedelta(seconds=20)


@pytest.fixture
def kept(monkeypatch):
    """A store that outlives the processes, as torchrun's does."""
    server = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)

    def client(method, rank, world_size, timeout):
        assert method == "env://"
        yield dist.TCPStore("127.0.0.1", server.port, None, False, timeout), rank, world_size

    monkeypatch.setattr(dist, "rendezvous", client)
    return server


def start(world_size):
    with ThreadPoolExecutor(world_size) as threads:
        calls = [
            threads.submit(rendezvous.fresh_store, rank, world_size, LONG)
            for rank in reversed(range(world_size))
        ]
        return [call.result() for call in reversed(calls)]


def test_all_ranks_share_a_store_and_a_later_start_sees_nothing_of_it(kept):
    first = start(3)
    first[0].set("address", "of the killed")
    assert first[2].get("address") == b"of the killed"
    again = start(3)
    assert not again[1].check(["address"])
    again[0].set("address", "of the living")
    assert again[2].get("address") == b"of the living"


def test_an_answer_to_a_killed_process_lets_no_living_one_through(kept):
    kept.set("asks/1", "killed before it was answered")
    with pytest.raises(TimeoutError, match="rank 1 did not come"):
        rendezvous.fresh_store(0, 2, SHORT)


def test_a_process_that_no_rank_0_answers_gives_up(kept):
    start(2)  # of an earlier start: its answers are still there
    with pytest.raises(dist.DistStoreError):
        rendezvous.fresh_store(1, 2, SHORT)
