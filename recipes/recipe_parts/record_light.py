"""Brightness and contrast of each training image, as Hiverge's record has them."""

from keras_dawn import data


class Light(data.Transform):
    """Adds one number to all values of an image, then multiplies them by another.

    After `Normalize`, so that both are in deviations of the training images; nothing is clipped
    (https://github.com/hiverge/cifar10-speedrun).

    Args:
        brightness: float from 0 up: what is added is uniform in `[-brightness, brightness]`.
        contrast: float in [0, 1]: the factor is uniform in `[1 - contrast, 1 + contrast]`.
    """

    def __init__(self, brightness, contrast):
        self.brightness, self.contrast = brightness, contrast

    def __call__(self, images, random):
        shift = random.uniform(-self.brightness, self.brightness)[:, None, None, None]
        scale = random.uniform(1 - self.contrast, 1 + self.contrast)[:, None, None, None]
        return (images + shift) * scale
