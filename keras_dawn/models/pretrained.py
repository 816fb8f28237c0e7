"""Weights that torchvision has trained, in this package's residual networks."""

import hashlib
import pickle
from pathlib import Path

import keras
import numpy as np
import torch

URL = "https://download.pytorch.org/models/"
# The hexadecimal digits are the first of the file's SHA-256. Of two, the second is by torchvision's
# later recipe (https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives).
FILES = {
    18: ("resnet18-f37072fd.pth",),
    34: ("resnet34-b627a593.pth",),
    50: ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    101: ("resnet101-63fe2227.pth", "resnet101-cd907fc2.pth"),
}
NAMES = ("imagenet", "imagenet_v1")


def load_pretrained(model, weights, depth):
    """Loads what `weights=` of a network says.

    Args:
        model: `ResNet` of this package.
        weights: `"imagenet"` (the better of torchvision's two), `"imagenet_v1"` (the older), the
            path of a torch file (`.pth`, `.pt`) of torchvision's names (a state dict, or a
            checkpoint with one in it), or of a Keras weights file.
        depth: int, the network's.

    Raises:
        FileNotFoundError: no such file.
        OSError: weights that are not there and cannot be downloaded; it says what to do. Or a file
            that may not be read.
        ValueError: a damaged file, or weights of another network.
    """
    if weights in NAMES:
        weights = pretrained_file(FILES[depth][-1 if weights == "imagenet" else 0])
    path = Path(weights).expanduser()
    if not path.suffix and not path.exists():
        raise ValueError(
            f"`weights` must be one of {', '.join(NAMES)} or the path of a file, got {weights!r}."
        )
    if path.suffix not in (".pth", ".pt"):
        model.load_weights(path)
        return
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    load_state_dict(model, _state_dict(path))


def _state_dict(path):
    """The state dict in a torch file, without what checkpoints and `DataParallel` put around it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or no file of torch weights alone: it is not opened, as it could "
            "run any program. Where it is yours, save `model.state_dict()` and give that file."
        ) from error
    except (PermissionError, MemoryError):  # which say nothing of the file's content
        raise
    except Exception as error:  # of a damaged file anything: EOFError, KeyError, RuntimeError, …
        said = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is damaged, or no file of torch weights ({said}).") from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
            break
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no dict of weights, but {type(state).__name__}.")
    while prefix := _common_prefix(state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _common_prefix(names):
    """What `torch.compile`, `DataParallel` or `DistributedDataParallel` puts before every name."""
    for prefix in ("_orig_mod.", "module."):
        if names and all(name.startswith(prefix) for name in names):
            return prefix
    return None


def pretrained_file(name, folder=None, url=URL):
    """The path of a weights file, downloaded at the first use, whose hash is checked.

    Args:
        name: str, such as `"resnet18-f37072fd.pth"`, which says the beginning of its SHA-256.
        folder: where it is kept; by default where torch keeps such files too
            (`torch.hub.get_dir()`, which the environment variable `TORCH_HOME` moves).
        url: where it is downloaded from.

    Raises:
        OSError: it cannot be downloaded.
        ValueError: what is there, or came, is another file.
    """
    folder = Path(folder or Path(torch.hub.get_dir()) / "checkpoints")
    path, digits = folder / name, Path(name).stem.rpartition("-")[2]
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url + name, str(path), digits)
        except OSError as error:
            raise OSError(
                f"{url}{name} cannot be downloaded ({error}). Without a network: download it on "
                f"another machine and put it at {path}, or pass its path as `weights`."
            ) from None
        except RuntimeError as error:  # another hash
            raise ValueError(f"{url}{name} gave another file than expected: {error}.") from error
    # Of a file that was there as well: a download that broke off leaves a short one.
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digits):
        raise ValueError(
            f"{path} is damaged: its SHA-256 begins with {found[:8]}, not {digits}. Delete it."
        )
    return path


def load_state_dict(model, state):
    """Copies weights of torchvision's `resnet18` and so on into the network of the same layers.

    The last layer is left as it is where it has other shapes, as for another number of classes, or
    is not there.

    Args:
        model: `keras.Model` whose layers are named as `ResNet` names them.
        state: dict of tensors by torchvision's names, `state_dict()` of its network.

    Returns:
        list of the names that were not used.

    Raises:
        ValueError: weights that are missing, too many, or of other shapes.

    Example:
        >>> import torchvision
        >>> model = keras_dawn.models.ResNet18(classes=10)
        >>> load_state_dict(model, torchvision.models.resnet18().state_dict())
        ['fc.bias', 'fc.weight']
    """
    # How many batches batch normalisation has seen, which Keras does not count.
    rest = {name: value for name, value in state.items() if not name.endswith("_tracked")}
    head, missing, shapes, found = {"fc.weight", "fc.bias"}, [], [], []
    others = head if _is_another_head(model, rest) else set()
    for layer in model.layers:
        for variable in layer.weights:
            name = torch_name(layer, variable)
            if name not in rest:
                missing.append(name)
                continue
            value = _in_keras_order(rest[name], layer)
            if name in others:
                continue
            if value.shape == tuple(variable.shape):
                found.append((variable, value))
                del rest[name]
            else:
                shapes.append(f"{name} {tuple(rest[name].shape)}")
    unused = sorted(rest)
    extra = [name for name in unused if name not in head]
    if missing or extra or shapes:
        raise ValueError(
            f"These are not the weights of {model.name}: missing {missing[:3]}, "
            f"unknown {extra[:3]}, of another shape {shapes[:3]}."
        )
    # All or nothing: a model is not left with half of another one's weights.
    for variable, value in found:
        variable.assign(value)
    return unused


def _is_another_head(model, state):
    """Whether any weight of the last layer has another shape: the rest of it would not fit."""
    for layer in model.layers:
        for variable in layer.weights if layer.name == "predictions" else ():
            value = state.get(torch_name(layer, variable))
            if value is not None and _in_keras_order(value, layer).shape != tuple(variable.shape):
                return True
    return False


def torch_name(layer, variable):
    """How torchvision calls a weight: `layer1_0_conv1` has `layer1.0.conv1.weight`."""
    name = "fc" if layer.name == "predictions" else layer.name
    if name.startswith("layer"):
        stage, block, rest = name.split("_", 2)
        name = f"{stage}.{block}.{rest.replace('_', '.')}"
    return f"{name}.{_PARTS[variable.name]}"


_PARTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _in_keras_order(value, layer):
    if isinstance(value, torch.Tensor):  # also a parameter, on a GPU, of what NumPy has not
        value = value.detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
    value = np.asarray(value)
    if isinstance(layer, keras.layers.Conv2D) and value.ndim == 4:
        # torch has (out, in, height, width), Keras (height, width, in, out).
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value
