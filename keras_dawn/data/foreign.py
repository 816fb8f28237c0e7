"""torchvision's transforms as they are, image after image."""

from keras_dawn.data.transforms import Normalize, Transform

import torch


class PerImage(Transform):
    """A transform of single images, such as torchvision's, with draws of its own for each.

    A list of transforms may hold torchvision's as they are: they are put into this. Slower than
    this package's, which take whole batches, and on a GPU every image is waited for.

    Args:
        transform: callable from a uint8 or float tensor `(channels, height, width)` to another;
            random numbers are those of torch's generator on the CPU.

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

    def __call__(self, images, random):
        seeds = random.integers(0, 2**31).tolist()
        results = []
        # torchvision draws from torch's global generator, which the training draws from too.
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(images.permute(0, 3, 1, 2), seeds, strict=True):
                torch.random.default_generator.manual_seed(seed)
                results.append(torch.as_tensor(self.transform(image.contiguous())))
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


_OVERSHOOT = 0.5  # bicubic interpolation leaves the range by far less


def _is_pixels(images):
    if not images.is_floating_point():
        return images.dtype == torch.uint8
    low, high = images.aminmax()
    return bool(low >= -_OVERSHOOT) and bool(high <= 1 + _OVERSHOOT)


def adapted(transforms):
    """A list with torchvision's transforms as this package calls them; others as they are.

    torchvision's `Normalize` becomes this package's, which is then the list's; a `Compose` that
    holds one becomes its parts.
    """
    found = []
    for transform in transforms:
        if not _is_torchvisions(transform):
            found.append(transform)
        elif _normalizes(transform) and hasattr(transform, "transforms"):
            found += adapted(transform.transforms)
        elif _is_torchvisions(transform, ("MixUp", "CutMix")):
            raise ValueError(
                f"torchvision's {type(transform).__name__} takes batches with their labels, and "
                "works on single images here: use keras_dawn.data's of that name after OneHot."
            )
        elif _normalizes(transform):
            found.append(Normalize(transform.mean, transform.std))
        else:
            found.append(PerImage(transform))
    return found


def _is_torchvisions(transform, name=""):
    kind = type(transform)
    return kind.__module__.startswith("torchvision.transforms") and kind.__name__.endswith(name)


def _normalizes(transform):
    """Whether it is torchvision's `Normalize`, or a `Compose` with one."""
    if _is_torchvisions(transform, "Compose"):
        return any(map(_normalizes, transform.transforms))
    return _is_torchvisions(transform, "Normalize")
