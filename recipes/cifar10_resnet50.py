"""CIFAR-10 to 94 % with a pre-activation ResNet-50 in one cycle: fast.ai's first notebook.

The claim of 2018 (1 × V100): 94.1 % after 60 epochs, "ResNet-50, 15 minutes"; about USD 0.77 at
3.06 an hour. No DAWNBench entry exists for it. This implementation has not been timed on a
GPU, and its accuracy after a whole training has not been measured yet.

    python recipes/cifar10_resnet50.py                       # chooses by hardware and data
    python recipes/cifar10_resnet50.py --preset=notebook --dataset=cifar10 --runs=5
"""

from keras_dawn.models import PreActResNet

from absl import app
from cifar10_recipe import CIFAR_AUGMENTATION, Preset, define_flags, main

PRESETS = {
    "notebook": Preset(
        model="preact_resnet50",
        epochs=60,
        batch_size=512,
        max_lr=1.0,
        div_factor=20,
        tail_percent=18,
        weight_decay=2e-4,
    ),
    # A shallower net and fewer epochs for two CPU cores.
    "cpu": Preset(
        model="preact_resnet18",
        epochs=6,
        batch_size=128,
        max_lr=0.2,
        div_factor=20,
        tail_percent=18,
        weight_decay=5e-4,
        augmentation=CIFAR_AUGMENTATION,
    ),
    # Under a minute: shows that everything runs.
    "smoke": Preset(
        model="preact_resnet50",
        epochs=2,
        batch_size=64,
        max_lr=0.05,
        div_factor=20,
        tail_percent=18,
        weight_decay=2e-4,
        augmentation=CIFAR_AUGMENTATION,
        train_images=192,
        test_images=100,
    ),
}


def build_model(preset, classes):
    """The preset's network; its name ends in the depth."""
    depth = int(preset.model.removeprefix("preact_resnet"))
    return PreActResNet(depth, input_shape=(32, 32, 3), classes=classes)


if __name__ == "__main__":
    define_flags(PRESETS)
    app.run(lambda argv: main("cifar10_resnet50", PRESETS, "notebook", build_model))
