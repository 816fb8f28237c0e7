"""The kind of processor, as far as the ways of a convolution depend on it."""

import functools

from keras_dawn.foundation.precision import has_amx, is_amd, is_intel, onednn_limit

import torch

KINDS = ("amx", "avx512", "avx2", "avx512_amd", "other")


@functools.cache
def kind_of_processor():
    """`"amx"`, `"avx512"` or `"avx2"` of Intel's, `"avx512_amd"` of AMD's, else `"other"`.

    That is what torch and oneDNN use of it: `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA` may
    hold them to less than there is.

    Example:
        >>> kind_of_processor() in KINDS
        True
    """
    capability, limit = torch.backends.cpu.get_cpu_capability(), onednn_limit()
    has_avx512 = capability == "AVX512" and (limit == "ALL" or "512" in limit)
    if is_amd() and has_avx512:
        return "avx512_amd"
    if not is_intel():
        return "other"  # nothing was measured there
    if has_amx():
        return "amx"
    if has_avx512:
        return "avx512"
    return "avx2" if capability in ("AVX512", "AVX2") else "other"
