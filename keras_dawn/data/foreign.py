"""torchvision's transforms as they are, image after image."""

from keras_dawn.data.transforms import Transform

import torch


class PerImage(Transform):
    """A transform of single images, such as torchvision's, with draws of its own for each.

    A list of transforms may hold torchvision's as they are: they are put into this. Slower than
    this package's, which take whole batches, and on a GPU every image is waited for.

    Args:
        transform: callable from a uint8 or float tensor `(channels, height, width)` to another;
            random numbers are those of torch's generator on the CPU.

    Raises:
        ValueError: results of several sizes, which are no batch.

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
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(images.permute(0, 3, 1, 2), seeds, strict=True):
                torch.random.default_generator.manual_seed(seed)
                results.append(torch.as_tensor(self.transform(image.contiguous())))
        shapes = {tuple(result.shape) for result in results}
        if len(shapes) > 1:
            raise ValueError(
                f"{self.transform} made images of several sizes: {sorted(shapes)[:3]}."
            )
        return torch.stack(results).permute(0, 2, 3, 1)

    def __repr__(self):
        return f"PerImage({self.transform})"


def adapted(transform):
    """torchvision's transforms as this package calls them; others as they are."""
    if type(transform).__module__.startswith("torchvision.transforms"):
        return PerImage(transform)
    return transform
