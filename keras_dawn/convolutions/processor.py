"""The kind of processor, as far as the ways of a convolution depend on it."""

import functools
import os

import torch

KINDS = ("amx", "avx512", "avx2", "other")
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # what oneDNN may use of the processor


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
    limit = next((os.environ[name].upper() for name in LIMITS if name in os.environ), "ALL")
    if (capability == "AVX512" and limit in ("ALL", "DEFAULT")) or "AMX" in limit:
        return "amx" if torch.cpu.get_capabilities().get("amx_bf16") else "avx512"
    if capability == "AVX512" and "AVX512" in limit:
        return "avx512"
    return "avx2" if capability in ("AVX512", "AVX2") else "other"
