"""A step inside the user's `torch.autocast`."""

import torch


def numerics(device):
    """What of torch's own settings decides how numbers are computed; a CUDA graph freezes it."""
    on = torch.is_autocast_enabled(device.type)
    return (
        on and torch.get_autocast_dtype(device.type),
        on and torch.is_autocast_cache_enabled(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )


def forget_casts():
    """Forgets the casts of weights that torch has cached: a step changes the weights.

    torch itself forgets them where the outermost `torch.autocast` ends, maybe after a whole `fit`.
    """
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        torch.clear_autocast_cache()
