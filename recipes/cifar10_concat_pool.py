"""CIFAR-10 to 94 % with concat pooling and a linear cycle: Ben Johnson's DAWNBench entry.

The claim of 2018 (1 × V100, April 2018): 94 % after 340.6 s of training, USD 0.29, in 30 of 40
epochs; 6 of 7 runs reached it. This implementation has not been timed on a
GPU, and its accuracy after a whole training has not been measured yet.

    python recipes/cifar10_concat_pool.py                       # chooses by hardware and data
    python recipes/cifar10_concat_pool.py --preset=entry --dataset=cifar10 --runs=5

Measured: `--preset=cpu --dataset=cifar10`, 6 epochs with half the channels, bfloat16, two cores
of a shared Intel Xeon: 84.57 % after 765 s of training while other work ran (seed 0, n = 1).
"""

from keras_dawn.models import ResNet18ConcatPool
from keras_dawn.schedules import Curve

from recipe_parts.cifar10 import define_flags, main
from recipe_parts.cifar10_presets import CIFAR_AUGMENTATION, Preset, smaller
from recipe_parts.command_line import run


def linear_cycle(preset):
    """The entry's learning rate: up, down, an extra run-out, and a small rest.

    In fractional epochs of 40: 0 to `max_lr` in 15, from 1.05 times that down to a twentieth
    in 15 more, to nothing in 5, then a two-hundredth of `max_lr`.
    """
    high, low = preset.max_lr, preset.max_lr / 20

    def rate(progress):
        epoch = 40 * progress
        if epoch < 15:
            return high * epoch / 15
        if epoch <= 30:
            return low + high * (30 - epoch) / 15
        if epoch <= 35:
            return low * (35 - epoch) / 5
        return low / 10

    return Curve(rate, f"linear cycle to {high:g}, 15 + 15 + 5 + 5 of 40 epochs")


# In 2018 everything was float16 and nothing scaled; here it is mixed, with scaling.
ENTRY = Preset(
    model="resnet18_concat_pool-64",
    epochs=40,
    batch_size=128,
    max_lr=0.1,
    weight_decay=5e-4,
    momentum=(0.9,),
    nesterov=True,
    curve=linear_cycle,
    augmentation=CIFAR_AUGMENTATION,
)
PRESETS = {
    "entry": ENTRY,
    # Half the channels and fewer epochs for two CPU cores.
    "cpu": smaller(ENTRY, model="resnet18_concat_pool-32", epochs=6, max_lr=0.1),
    # Under a minute: shows that everything runs.
    "smoke": smaller(ENTRY, train_images=64, test_images=32),
}


def build_model(preset, classes):
    """The preset's network; its name ends in the channels of the first stage."""
    width = int(preset.model.split("-")[1])
    return ResNet18ConcatPool(width=width, input_shape=(32, 32, 3), classes=classes)


if __name__ == "__main__":
    define_flags(PRESETS)
    run(lambda argv: main("cifar10_concat_pool", PRESETS, "entry", build_model, "none"))
