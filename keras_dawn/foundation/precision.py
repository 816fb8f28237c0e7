"""Which dtype policy this machine is fast with."""

import os

from keras_dawn.foundation.device import default_device

import torch

HALF = torch.float16, torch.bfloat16
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # what oneDNN may use of the processor
# Its names for that, from the least up: without bfloat16 of a processor with AVX-512, and with it.
_WITHOUT_BFLOAT16 = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
)  # fmt: skip
_WITH_BFLOAT16 = (
    "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16",
    "AVX10_1_512", "AVX10_1_512_AMX", "AVX10_1_512_AMX_FP16", "AVX10_2_512", "AVX10_2_512_AMX_2",
)  # fmt: skip


def has_gpu():
    """Whether Keras computes on a CUDA GPU."""
    return default_device().type == "cuda"


def onednn_limit():
    """What oneDNN may use of the processor, as `ONEDNN_MAX_CPU_ISA` names it; `"ALL"` of all.

    A name that oneDNN does not know limits nothing.
    """
    limit = next((os.environ[name].upper() for name in _LIMITS if os.environ.get(name)), "ALL")
    return limit if limit in _WITHOUT_BFLOAT16 + _WITH_BFLOAT16 else "ALL"


def best_precision():
    """The dtype policy that is fastest here.

    `"mixed_float16"` on a GPU, as the 2018 entries had it; `"mixed_bfloat16"` on a
    processor with bfloat16 instructions (AVX-512 BF16 or AMX) that torch and oneDNN may use
    (`ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA` can forbid it); otherwise `"float32"`, since
    emulated half precision is slower.
    """
    if has_gpu():
        return "mixed_float16"
    allowed = (
        onednn_limit() not in _WITHOUT_BFLOAT16
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )
    has = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return "mixed_bfloat16" if has and allowed else "float32"
