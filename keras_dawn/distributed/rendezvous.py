"""A store for the processes of one start alone, where torchrun keeps one through all restarts."""

import time
import uuid

import torch.distributed as dist


def fresh_store(rank, world_size, timeout):
    """torch's store, under a prefix that only the processes of this start know.

    After `torchrun --max-restarts` has started the processes again, its store still holds the
    addresses of those that were killed; a process that reads them before they are overwritten
    waits for nobody. So rank 0 makes a prefix up and hands it to each process that is alive:
    each has asked under a name of its own, which nothing left over can answer.

    Args:
        rank: int.
        world_size: int.
        timeout: `datetime.timedelta`, how long to wait for the others.

    Returns:
        `torch.distributed.Store`, for `init_process_group`.

    Raises:
        TimeoutError: on rank 0, some processes did not come.
        torch.distributed.DistStoreError: on another, rank 0 did not answer.
    """
    store, rank, world_size = next(dist.rendezvous("env://", rank, world_size, timeout=timeout))
    store.set_timeout(timeout)
    prefix = _welcome(store, world_size, timeout) if rank == 0 else _ask(store, rank, timeout)
    return dist.PrefixStore(prefix, store)


def _ask(store, rank, timeout):
    name = uuid.uuid4().hex
    store.set(f"asks/{rank}", name)
    store.wait([f"answer/{name}"], timeout)
    prefix = store.get(f"answer/{name}").decode()
    store.set(f"{prefix}/came/{rank}", "")
    return prefix


def _welcome(store, world_size, timeout):
    prefix = f"start-{uuid.uuid4().hex}"
    missing = set(range(1, world_size))
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        for rank in sorted(missing):
            if store.check([f"{prefix}/came/{rank}"]):
                missing.discard(rank)
            elif store.check([f"asks/{rank}"]):  # maybe of one that was killed: then ask again
                store.set(f"answer/{store.get(f'asks/{rank}').decode()}", prefix)
        if not missing:
            return prefix
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"Waited {timeout.total_seconds():.0f} s for {world_size} processes; rank "
                f"{', '.join(map(str, sorted(missing)))} did not come. Start as many as "
                "torchrun was told, and see whether their machines reach MASTER_ADDR."
            )
        # Short against the start of a process, long against a message to the store.
        time.sleep(0.01)
