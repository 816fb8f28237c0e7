"""CIFAR-10 to 94 % with ResNet-9: David Page's DAWNBench entry.

The claim of 2018 (1 × V100, November 2018): 94 % after 74.0 s of training, USD 0.063, in 24
epochs; 35 of 50 runs reached it, mean 94.08 %. This implementation has not been timed on a
GPU, and its accuracy after a whole training has not been measured yet.

    python recipes/cifar10_resnet9.py                       # chooses by hardware and data
    python recipes/cifar10_resnet9.py --preset=entry --dataset=cifar10 --runs=5

Measured: `--preset=cpu --dataset=cifar10`, 6 epochs, bfloat16, two cores
of a shared Intel Xeon: 89.90 % after 1,357 s of training while other work ran (seed 0, n = 1).
"""

from keras_dawn import data
from keras_dawn.models import ResNet9
from keras_dawn.schedules import piecewise_linear

from recipe_parts.cifar10 import define_flags, main
from recipe_parts.cifar10_presets import Preset, smaller
from recipe_parts.command_line import run

# In this order in 2018 too: crop, flip, cut out.
AUGMENTATION = (data.PadCrop(4), data.RandomFlip(), data.Cutout(8))


def triangle(preset):
    """The entry's learning rate: 0 to the highest in 5 of 24 epochs, then to 0."""
    return piecewise_linear([0, 5 / 24, 1], [0.0, preset.max_lr, 0.0])


# The entry sums the loss over a batch and divides rate and decay accordingly; with the mean over
# the batch, that is a rate of 0.4 and a decay of 5e-4.
ENTRY = Preset(
    model="resnet9",
    epochs=24,
    batch_size=512,
    max_lr=0.4,
    weight_decay=5e-4,
    momentum=(0.9,),
    nesterov=True,
    curve=triangle,
    augmentation=AUGMENTATION,
)
PRESETS = {
    "entry": ENTRY,
    # Fewer epochs of smaller batches for two CPU cores.
    "cpu": smaller(ENTRY, epochs=6, max_lr=0.2),
    # Under a minute: shows that everything runs.
    "smoke": smaller(ENTRY, train_images=64, test_images=32),
}


def build_model(preset, classes):
    """The network; every preset has the same."""
    return ResNet9(classes=classes)


if __name__ == "__main__":
    define_flags(PRESETS)
    scale = "none: the loss is a sum"
    run(lambda argv: main("cifar10_resnet9", PRESETS, "entry", build_model, scale))
