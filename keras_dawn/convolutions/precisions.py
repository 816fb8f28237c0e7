"""The precisions in which convolutions may go another way than torch's own."""

import functools

from keras_dawn.foundation.precision import onednn_rounding

import torch

PRECISIONS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
_EXACT = ("none", "ieee")


def products_are_rounded(dtype):
    """Whether torch is asked to round what it multiplies, in products of matrices or convolutions.

    In float32 there is a switch for each (`torch.set_float32_matmul_precision`, `fp32_precision` of
    `torch.backends.mkldnn.matmul` and `.conv`): one is then not what the other would be. And
    `ONEDNN_DEFAULT_FPMATH_MODE` is for what oneDNN computes alone.
    """
    if dtype is not torch.float32:
        return False
    if _onednn_rounds():
        return True
    switches = torch.backends.mkldnn  # looked at in every call, and each look takes a while
    return not (switches.matmul.fp32_precision in _EXACT and switches.conv.fp32_precision in _EXACT)


@functools.cache
def _onednn_rounds():
    return onednn_rounding() is not None  # oneDNN, too, asks once
