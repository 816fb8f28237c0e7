"""torchvision's transforms as they are, image after image."""

import contextlib
import random as python_random

from keras_dawn.data.transforms import Normalize, Transform, to_unit_range

import numpy as np
import torch


class PerImage(Transform):
    """A transform of single images, such as torchvision's, with draws of its own for each.

    A list of transforms may hold torchvision's as they are: they are put into this. Slower than
    this package's, which take whole batches, and on a GPU every image is waited for.

    Args:
        transform: callable from a uint8 or float tensor `(channels, height, width)` to another;
            random numbers are those of torch's generator on the CPU, of `random` and of
            `numpy.random`.

    Raises:
        ValueError: results of several sizes, which are no batch, or pixels that are neither uint8
            nor floats from 0 to 1, as what follows in a list expects them.

    Example:
        >>> PerImage(torch.nn.Identity())
        PerImage(Identity())
    """

    on_device = False

    def __init__(self, transform):
        self.transform = transform

    @property
    def is_random(self):
        """Whether torchvision draws numbers for it, by the name of its class."""
        return any(_name(part).startswith(_DRAWING) for part in _parts(self.transform))

    def __call__(self, images, random):
        seeds = random.integers(0, 2**31).tolist()
        results = []
        with _own_random_numbers():
            for image, seed in zip(images.permute(0, 3, 1, 2), seeds, strict=True):
                torch.random.default_generator.manual_seed(seed)
                python_random.seed(seed)
                np.random.seed(seed)
                results.append(_as_tensor(self.transform(image.contiguous())))
        shapes = {tuple(result.shape) for result in results}
        if len(shapes) > 1:
            raise ValueError(
                f"{self.transform} made images of several sizes: {sorted(shapes)[:3]}."
            )
        made = torch.stack(results).permute(0, 2, 3, 1)
        if _is_pixels(images) and not _is_pixels(made):
            raise ValueError(
                f"{self.transform} made {made.dtype} from {made.min():.3g} to {made.max():.3g}; "
                "expected uint8, or floats from 0 to 1 (ToDtype(torch.float32, scale=True)). To "
                "normalise, put Normalize(mean, std) itself into the list."
            )
        return made

    def __repr__(self):
        return f"PerImage({self.transform})"


@contextlib.contextmanager
def _own_random_numbers():
    """Puts back the global generators, which the training draws from too.

    torchvision draws from torch's; its older `RandomChoice` and `RandomOrder` from Python's, and
    transforms of other libraries from NumPy's.
    """
    python, numpys = python_random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        python_random.setstate(python)
        np.random.set_state(numpys)


def _as_tensor(image):
    """`(channels, height, width)`, of Pillow's images too."""
    if not hasattr(image, "getbands"):
        return torch.as_tensor(image)
    pixels = torch.from_numpy(np.array(image))
    return pixels.reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


_OVERSHOOT = 0.5  # bicubic interpolation leaves the range by far less


def _is_pixels(images):
    if not images.is_floating_point():
        return images.dtype == torch.uint8
    low, high = images.aminmax()
    return bool(low >= -_OVERSHOOT) and bool(high <= 1 + _OVERSHOOT)


def adapted(transforms):
    """A list with torchvision's transforms as this package calls them; others as they are.

    torchvision's `Normalize` becomes this package's, which is then the list's; a `Compose` that
    holds one becomes its parts before it, itself, and those after it. `ToTensor` may stand where
    images are tensors already, as they are here.

    Raises:
        ValueError: torchvision's `MixUp` or `CutMix`, which take batches.
    """
    found = []
    for transform in transforms:
        if not _name(transform):
            found.append(transform)
            continue
        kind, run = type(transform), []
        for part in _parts(transform):
            if _name(part) == "Normalize":
                found += _of_run(run, kind)
                found.append(Normalize(part.mean, part.std))
                run = []
            else:
                run.append(_UnlessTensor(part) if _name(part) in _FROM_PILLOW else part)
        found += _of_run(run, kind)
    return found


def check_cropped_once(transforms):
    """Raises where an adapted list for photos has a crop of torchvision's and none of ours.

    Raises:
        ValueError: `Resize` or another of `_CROPS`, or `RandomCrop` without `padding`, with which
            it shifts images after their crop.
    """
    parts = [p for t in transforms if isinstance(t, PerImage) for p in _parts(t.transform)]
    for part in parts:
        name = _name(part)
        if name in _CROPS or (name == "RandomCrop" and not np.any(part.padding)):
            does = "resize" if name in _RESIZES else "crop"
            raise ValueError(
                f"Photos are cropped and resized while they are decoded; torchvision's {name} "
                f"would {does} them a second time. Put RandomResizedCrop or CenterCrop of "
                "keras_dawn.data.photos first in its place, or first in the list if both are "
                "meant; `image_size` says the size."
            )


_RESIZES = ("Resize", "RandomResize", "RandomShortestSize", "ScaleJitter")
_CROPS = ("RandomResizedCrop", "CenterCrop", *_RESIZES)
_FROM_PILLOW = ("ToTensor", "PILToTensor")
_DRAWING = ("Random", "Rand", "Trivial", "AutoAugment", "AugMix", "ColorJitter", "ElasticTransform")


class _UnlessTensor:
    """What makes a tensor of Pillow's image, where it may be given a tensor."""

    def __init__(self, transform):
        self.transform = transform

    def __call__(self, image):
        if not isinstance(image, torch.Tensor):
            return self.transform(image)
        return to_unit_range(image) if _name(self.transform) == "ToTensor" else image

    def __repr__(self):
        return repr(self.transform)


def is_torchvisions(transform):
    """Whether a transform is of torchvision's classes."""
    return bool(_name(transform))


def _name(transform):
    """The name of torchvision's class, or nothing."""
    kind = type(transform)
    return kind.__name__ if kind.__module__.startswith("torchvision.transforms") else ""


def _parts(transform):
    """A transform, or what the `Compose`s in one another hold."""
    if _name(transform) == "Compose":
        return [part for inner in transform.transforms for part in _parts(inner)]
    if _name(transform) in ("MixUp", "CutMix"):
        raise ValueError(
            f"torchvision's {_name(transform)} takes batches: put OneHot(classes) and "
            f"keras_dawn.data.{_name(transform)} into the list in its place."
        )
    return [transform]


def _of_run(run, kind):
    if len(run) > 1:
        return [PerImage(kind(run))]
    return [PerImage(part) for part in run]
