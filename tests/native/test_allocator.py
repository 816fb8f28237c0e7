"""What the C library does with large blocks, seen from a process of its own."""

from keras_dawn.native.allocator import keep_freed_memory

import torch

from tests.processes import Program


def free_a_block(how):
    told = keep_freed_memory() if how == "keep" else None
    before = resident()
    block = torch.ones(64 * 2**20 // 4)
    del block
    print(told, (resident() - before) // 2**20)


def resident():
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * 4096


def freed(how):
    done = Program(free_a_block, how).wait()
    assert done.returncode == 0, done.printed
    told, kept = done.printed.split()
    return told, int(kept)


def test_a_freed_block_stays_with_the_process_once_it_is_told_so():
    told, kept = freed("keep")
    assert (kept >= 60) == (told == "True")
    told, kept = freed("not")
    assert told == "None" and kept < 30
