"""The precisions in which convolutions may go another way than torch's own."""

import torch

PRECISIONS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
_EXACT = ("none", "ieee")


def products_are_rounded(dtype):
    """Whether torch is asked to round what it multiplies, in products of matrices or convolutions.

    In float32 there is a switch for each (`torch.set_float32_matmul_precision`, `fp32_precision` of
    `torch.backends.mkldnn.matmul` and `.conv`): one is then not what the other would be.
    """
    if dtype is not torch.float32:
        return False
    switches = torch.backends.mkldnn  # looked at in every call, and each look takes a while
    return not (switches.matmul.fp32_precision in _EXACT and switches.conv.fp32_precision in _EXACT)
