"""The precisions in which convolutions may go another way than torch's own."""

import torch

PRECISIONS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}


def products_are_rounded(dtype):
    """Whether torch is asked to round what it multiplies, in products of matrices or convolutions.

    In float32 there is a switch for each (`torch.set_float32_matmul_precision`, `fp32_precision` of
    `torch.backends.mkldnn.matmul` and `.conv`): one is then not what the other would be.
    """
    switches = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    return dtype is torch.float32 and any(
        switch.fp32_precision not in ("none", "ieee") for switch in switches
    )
