"""What the C library does with large blocks, seen from a process of its own."""

import subprocess
import sys

from keras_dawn.native import allocator

# It reads the one file: to import Keras would take most of the time.
PROGRAM = """
import runpy, sys
import torch

def resident():
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * 4096

def kept():
    before = resident()
    block = torch.ones(64 * 2**20 // 4)
    del block
    return (resident() - before) // 2**20

before = kept()
told = runpy.run_path(sys.argv[1])["keep_freed_memory"]()
print(before, told, kept())
"""


def test_a_freed_block_stays_with_the_process_once_it_is_told_so():
    command = [sys.executable, "-c", PROGRAM, allocator.__file__]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    before, told, after = done.stdout.split()
    assert int(before) < 30
    assert (int(after) >= 60) == (told == "True")
