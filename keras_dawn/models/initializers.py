"""Initialisations that Keras lacks."""

import keras
import torch


@keras.saving.register_keras_serializable(package="keras_dawn")
class IdentityFilters(keras.initializers.Initializer):
    """Convolution filters of which the first hand their input on; torch's range for the others.

    Filter i passes input channel i through its centre, for as many filters as there are input
    channels (`torch.nn.init.dirac_`, as Jordan 2024, arXiv:2404.00498, uses it); further filters
    are uniform in ±1/√fan_in, as `torch.nn.Conv2d` has them.

    Args:
        seed: int, or `None` to draw from Keras's global seed.

    Example:
        >>> kernel = IdentityFilters(0)((3, 3, 2, 4))
        >>> kernel[1, 1].tolist()[0][:2]
        [1.0, 0.0]
    """

    def __init__(self, seed=None):
        self.seed = seed
        self._random = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)

    def __call__(self, shape, dtype=None):
        if len(shape) != 4:
            raise ValueError(f"Expected a filter's shape (height, width, in, out), got {shape}.")
        kernel = keras.ops.convert_to_tensor(self._random(shape, dtype)).detach().clone()
        # With fewer filters than channels, the last channels are handed on by nobody.
        count = min(shape[2:])
        kernel[..., :count] = 0.0
        kernel[shape[0] // 2, shape[1] // 2, :count, :count] = torch.eye(count)
        return kernel

    def get_config(self):
        return {"seed": self.seed}
