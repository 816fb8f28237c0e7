"""Which dtype policy this machine is fast with."""

import os

from keras_dawn.foundation.device import default_device

import torch

HALF = torch.float16, torch.bfloat16
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # what oneDNN may use of the processor
_ROUNDINGS = ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
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
    limit = _told(_LIMITS, "ALL")
    return limit if limit in _WITHOUT_BFLOAT16 + _WITH_BFLOAT16 else "ALL"


def onednn_rounding():
    """What oneDNN may round the factors of products in float32 to, such as `"BF16"`; or `None`.

    That is as `ONEDNN_DEFAULT_FPMATH_MODE` names it; a name that oneDNN does not know rounds
    nothing. A processor without instructions for it computes in float32 all the same.
    """
    mode = _told(_ROUNDINGS, "STRICT")
    return mode if mode in ("BF16", "F16", "TF32", "ANY") else None


def _told(names, default):
    """What the first of these variables that is set says, in capital letters, or the default."""
    return next((os.environ[name].upper() for name in names if os.environ.get(name)), default)


def has_bfloat16():
    """Whether the processor has bfloat16 instructions that torch and oneDNN may use.

    AVX-512 BF16 or AMX, unless `ATEN_CPU_CAPABILITY` or `ONEDNN_MAX_CPU_ISA` forbid them.
    """
    allowed = (
        onednn_limit() not in _WITHOUT_BFLOAT16
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )
    return allowed and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def is_intel():
    """Whether the processor is one of Intel's."""
    return "Intel" in str(torch.cpu.get_capabilities().get("cpu_name"))


def is_amd():
    """Whether the processor is one of AMD's."""
    return "AMD" in str(torch.cpu.get_capabilities().get("cpu_name"))


def has_amx():
    """Whether the processor has bfloat16 tiles that torch and oneDNN may use."""
    limit = onednn_limit()
    allowed = limit == "ALL" or "AMX" in limit
    has = torch.cpu.get_capabilities().get("amx_bf16", False)
    return allowed and bool(has) and torch.backends.cpu.get_cpu_capability() == "AVX512"


def best_precision():
    """The dtype policy that is fastest here.

    `"mixed_float16"` on a GPU, as the 2018 entries had it; `"mixed_bfloat16"` on a processor with
    bfloat16 instructions that may be used (`has_bfloat16`), of Intel's only with AMX; otherwise
    `"float32"`, since emulated half precision is slower, and so is Intel's AVX-512 BF16 alone: the
    record's network took 1.4 to 1.8 times as long with it as in float32 on a Xeon that was held to
    it by `ONEDNN_MAX_CPU_ISA`, where an AMD EPYC was 1.7 times as fast.
    """
    if has_gpu():
        return "mixed_float16"
    if not has_bfloat16():
        return "float32"
    return "float32" if is_intel() and not has_amx() else "mixed_bfloat16"
