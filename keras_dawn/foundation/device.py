"""Which device Keras computes on, on which ones this package is tested, and the way there."""

import os
import sys

import torch

PROVED = ("cpu", "cuda")


def choose_device():
    """Keeps Keras off a device on which nothing here was tested, unless it is asked for by name.

    Keras's torch backend takes an Apple processor's `mps` (or Intel's `xpu`) by itself when it is
    imported. There float64, fused updates and half precision are missing or untested, so that the
    CPU is taken, and one line says so. `KERAS_TORCH_DEVICE=mps` takes it all the same; a model
    then steps in plain Keras. Has no effect on a Keras that is imported already.
    """
    # Keras reads the variable once, when it is imported.
    if "KERAS_TORCH_DEVICE" in os.environ or "keras" in sys.modules:
        return
    device = _what_keras_would_take()
    if device in PROVED:
        return
    os.environ["KERAS_TORCH_DEVICE"] = "cpu"  # processes that this one starts are silent, too
    print(
        f"keras_dawn: computes on the CPU. Keras would take {device}, where float64, fused updates "
        f"and half precision are not proved; KERAS_TORCH_DEVICE={device} takes it all the same.",
        file=sys.stderr,
    )


def why_not_native(device):
    """Why a model whose weights lie there steps in plain Keras, or `None`.

    Args:
        device: str, a torch device's type, such as `"mps"`.
    """
    if device in PROVED:
        return None
    return (
        f"its weights lie on {device}, where native steps are not proved; "
        "with KERAS_TORCH_DEVICE=cpu they run"
    )


def default_device():
    """The `torch.device` on which Keras makes its tensors, or the CPU where that is not proved.

    It follows `KERAS_TORCH_DEVICE`, `keras.device`, and the GPU of this process among several.
    """
    import keras  # `choose_device` runs before Keras may be imported

    device = keras.ops.zeros(()).device
    return device if device.type in PROVED else torch.device("cpu")


def moved(tensor, device, dtype=None):
    """A tensor on a device, in a dtype; to a GPU without waiting for what that has still to do.

    A plain copy from the host waits until everything before it is done. This one goes by way of
    pinned memory of its own, so that whoever made the tensor may fill it anew at once.

    Args:
        tensor: `torch.Tensor`.
        device: `torch.device`.
        dtype: `torch.dtype`, or `None` for the tensor's own.
    """
    if tensor.device.type == "cpu" and device.type == "cuda":
        pinned = torch.empty_like(tensor, pin_memory=True).copy_(tensor)
        tensor = pinned.to(device, non_blocking=True)
    return tensor.to(device, dtype or tensor.dtype)


def _what_keras_would_take():
    """The device that Keras's torch backend chooses, in the order in which it looks."""
    if torch.backends.mps.is_available():
        return "mps"
    if torch.cuda.is_available():
        return "cuda"
    return "xpu" if torch.xpu.is_available() else "cpu"
