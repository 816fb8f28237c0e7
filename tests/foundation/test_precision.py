from keras_dawn.foundation.precision import best_precision, onednn_rounding

import pytest
import torch

ANY = {"avx512_bf16": True}  # of no maker's name
AMX = {"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel(R) Xeon(R) Processor"}


@pytest.mark.parametrize(
    "has, capability, limits, expected",
    [
        (ANY, "AVX512", {}, "mixed_bfloat16"),
        ({}, "AVX512", {}, "float32"),
        (ANY, "AVX2", {}, "float32"),  # ATEN_CPU_CAPABILITY=avx2
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": "avx2"}, "float32"),
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI_2"}, "float32"),
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": ""}, "mixed_bfloat16"),
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": "NO_SUCH_NAME"}, "mixed_bfloat16"),
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, "float32"),
        (ANY, "AVX512", {"DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "mixed_bfloat16"),
        (ANY, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "mixed_bfloat16"),
        # Intel's AVX-512 BF16 alone is slower than float32.
        (AMX, "AVX512", {}, "mixed_bfloat16"),
        (AMX, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "mixed_bfloat16"),
        (AMX, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512_AMX"}, "mixed_bfloat16"),
        (AMX, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "float32"),
        (AMX | {"amx_bf16": False}, "AVX512", {}, "float32"),
    ],
)
def test_bfloat16_where_the_processor_has_it_may_use_it_and_is_fast_in_it(
    has, capability, limits, expected, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr("keras_dawn.foundation.precision.has_gpu", lambda: False)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert best_precision() == expected


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, None),
        ({"ONEDNN_DEFAULT_FPMATH_MODE": "bf16"}, "BF16"),
        ({"ONEDNN_DEFAULT_FPMATH_MODE": "", "DNNL_DEFAULT_FPMATH_MODE": "ANY"}, "ANY"),
        ({"ONEDNN_DEFAULT_FPMATH_MODE": "STRICT", "DNNL_DEFAULT_FPMATH_MODE": "ANY"}, None),
        ({"ONEDNN_DEFAULT_FPMATH_MODE": "NO_SUCH_NAME"}, None),
    ],
)
def test_what_float32_may_be_rounded_to_is_told(variables, expected, monkeypatch):
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert onednn_rounding() == expected
