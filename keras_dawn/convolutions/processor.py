"""The kind of processor, as far as the ways of a convolution depend on it."""

import functools

from keras_dawn.foundation.precision import onednn_limit

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
    if "Intel" not in str(torch.cpu.get_capabilities().get("cpu_name")):
        return "other"  # nothing was measured there
    capability = torch.backends.cpu.get_cpu_capability()
    limit = onednn_limit()
    if capability == "AVX512" and (limit == "ALL" or "AMX" in limit):
        return "amx" if torch.cpu.get_capabilities().get("amx_bf16") else "avx512"
    if capability == "AVX512" and "512" in limit:
        return "avx512"
    return "avx2" if capability in ("AVX512", "AVX2") else "other"
