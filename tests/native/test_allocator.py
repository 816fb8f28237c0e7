"""What the C library does with large blocks, seen from a process of its own."""

import subprocess
import sys

CODE = """
import sys
import torch
from keras_dawn.native.allocator import keep_freed_memory

told = keep_freed_memory() if sys.argv[1] == "keep" else None

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

before = resident()
block = torch.ones(64 * 2**20 // 4)
del block
print(told, (resident() - before) // 2**20)
"""


def freed(how):
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told, kept = done.stdout.split()
    return told, int(kept)


def test_a_freed_block_stays_with_the_process_once_it_is_told_so():
    told, kept = freed("keep")
    assert (kept >= 60) == (told == "True")
    told, kept = freed("not")
    assert told == "None" and kept < 30
