"""The precisions in which convolutions may go another way than torch's own."""

import torch

PRECISIONS = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
