"""Which dtype policy this machine is fast with."""

import os

from keras_dawn.foundation.device import default_device

import torch

HALF = torch.float16, torch.bfloat16
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # what oneDNN may use of the processor
_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


def has_gpu():
    """Whether Keras computes on a CUDA GPU."""
    return default_device().type == "cuda"


def best_precision():
    """The dtype policy that is fastest here.

    `"mixed_float16"` on a GPU, as the 2018 entries had it; `"mixed_bfloat16"` on a
    processor with bfloat16 instructions (AVX-512 BF16 or AMX) that torch and oneDNN may use
    (`ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA` can forbid it); otherwise `"float32"`, since
    emulated half precision is slower.
    """
    if has_gpu():
        return "mixed_float16"
    limit = next((os.environ[name].upper() for name in _LIMITS if name in os.environ), "ALL")
    allowed = limit not in _WITHOUT_BFLOAT16 and torch.backends.cpu.get_cpu_capability() == "AVX512"
    has = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "mixed_bfloat16" if has and allowed else "float32"
