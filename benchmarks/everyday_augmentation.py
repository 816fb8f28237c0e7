"""An image classifier that augments its batches itself, twice: in Keras, and as PyTorch by hand."""

import math

import keras
import torch
import torch.nn.functional as F
from everyday_images import Images
from everyday_loop import Accuracy
from everyday_twins import SMALL, Case, adam
from keras import layers

ROTATION, ZOOM = 0.1, 0.1  # of a full turn; of the size


def classifier_in_keras(width):
    model = keras.Sequential([
        keras.Input((32, 32, 3)), layers.RandomFlip("horizontal"),
        layers.RandomRotation(ROTATION), layers.RandomZoom(ZOOM),
        layers.Conv2D(width, 3, 2, "same", use_bias=False), layers.BatchNormalization(),
        layers.ReLU(), layers.Conv2D(2 * width, 3, 2, "same", use_bias=False),
        layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


class Classifier(Images):
    def forward(self, x):
        x = self.images(x)
        if self.training:
            x = augmented(x.float()).to(x.dtype)  # torch samples in one precision only
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu_(norm(convolution(F.pad(x, (0, 1, 0, 1)))))
        return self.dense[0](x.mean((2, 3)))


def augmented(x):
    """Half of the images mirrored; then each rotated, then zoomed, both bilinearly as in Keras.

    To mirror and then to turn is one map: where a turn looks, its first coordinate changes sign.
    """
    side, turn, size = torch.rand(3, len(x), device=x.device)
    side = torch.where(side < 0.5, -1.0, 1.0)
    angle = (2 * turn - 1) * (ROTATION * 2 * math.pi)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    x = _moved(x, (side * cosine, -side * sine, zero, sine, cosine, zero))
    zoom = 1 + (2 * size - 1) * ZOOM
    return _moved(x, (zoom, zero, zero, zero, zoom, zero))


def _moved(x, matrix):
    grid = F.affine_grid(torch.stack(matrix, 1).view(-1, 2, 3), x.shape, align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count = 8 * scale.samples
    return [
        Case("augmentation inside", lambda: classifier_in_keras(16 * scale.width), Classifier,
             F.cross_entropy, {"accuracy": Accuracy},
             lambda: (torch.rand(count, 32, 32, 3), torch.randint(0, 10, (count,))), adam(1e-3),
             by_chance=True),
    ]  # fmt: skip
