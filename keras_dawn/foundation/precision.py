"""Which dtype policy this machine is fast with."""

from pathlib import Path

from keras_dawn.foundation.device import default_device

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def has_gpu():
    """Whether Keras computes on a CUDA GPU."""
    return default_device().type == "cuda"


def best_precision():
    """The dtype policy that is fastest here.

    `"mixed_float16"` on a GPU, as the 2018 entries had it; `"mixed_bfloat16"` on a
    processor with bfloat16 instructions (AVX-512 BF16 or AMX); otherwise `"float32"`,
    since emulated half precision is slower.
    """
    if has_gpu():
        return "mixed_float16"
    try:
        instructions = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in instructions else "float32"
