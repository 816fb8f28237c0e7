"""Keeps the memory of activations, which glibc would give back to the system in every step."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_LARGEST = 2**31 - 1  # of a C int


def keep_freed_memory():
    """Lets the C library keep large blocks that are freed, for this process.

    On a CPU, tensors of some megabytes are otherwise mapped anew in every step and cleared page
    by page by the system. The process keeps its peak memory until it ends.

    Returns:
        bool, whether the C library could be told so (glibc only).

    Example:
        >>> keep_freed_memory()                                         # doctest: +SKIP
        True
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    # The process itself: the C library that torch's allocations go through.
    library = ctypes.CDLL(None)
    # No block is mapped by itself, however large, and none is given back when it is freed.
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, _LARGEST))
