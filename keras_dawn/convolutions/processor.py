"""The kind of processor, as far as the ways of a convolution depend on it."""

import functools

from keras_dawn.foundation.precision import has_amx, is_intel, onednn_limit

import torch

KINDS = ("amx", "avx512", "avx2", "other")


@functools.cache
def kind_of_processor():
    """`"amx"`, `"avx512"` or `"avx2"` of an Intel processor, else `"other"`.

    That is what torch and oneDNN use of it: `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA` may
    hold them to less than there is.

    Example:
        >>> kind_of_processor() in KINDS
        True
    """
    if not is_intel():
        return "other"  # nothing was measured there
    if has_amx():
        return "amx"
    capability, limit = torch.backends.cpu.get_cpu_capability(), onednn_limit()
    if capability == "AVX512" and (limit == "ALL" or "512" in limit):
        return "avx512"
    return "avx2" if capability in ("AVX512", "AVX2") else "other"
