"""CIFAR-10 to 94 % with a pre-activation ResNet-18 in one cycle: fast.ai's tuned notebook.

The claim of 2018 (1 × V100): 94.2 % after 65 epochs, "ResNet-18, 10 minutes"; about USD 0.51 at
3.06 an hour. No DAWNBench entry exists for it. This implementation has not been timed on a
GPU, and its accuracy after a whole training has not been measured yet.

    python recipes/cifar10_preact_resnet18.py                       # chooses by hardware and data
    python recipes/cifar10_preact_resnet18.py --preset=notebook --dataset=cifar10 --runs=5

Measured: `--preset=cpu --dataset=cifar10`, 6 epochs with half the channels, bfloat16, two cores
of a shared Intel Xeon: 84.71 % after 933 s of training while other work ran (seed 0, n = 1).
"""

from keras_dawn.models import PreActResNet18

from absl import app

from recipe_parts.cifar10 import CIFAR_AUGMENTATION, Preset, define_flags, main, smaller

NOTEBOOK = Preset(
    model="preact_resnet18-64",
    epochs=65,
    batch_size=512,
    max_lr=1.2,
    div_factor=30,
    tail_percent=20,
    weight_decay=2e-4,
)
PRESETS = {
    "notebook": NOTEBOOK,
    # Half the channels, fewer epochs and a simpler augmentation for two CPU cores.
    "cpu": smaller(
        NOTEBOOK,
        model="preact_resnet18-32",
        epochs=6,
        max_lr=0.2,
        weight_decay=5e-4,
        augmentation=CIFAR_AUGMENTATION,
    ),
    # Under a minute: shows that everything runs.
    "smoke": smaller(NOTEBOOK, train_images=64, test_images=32),
}


def build_model(preset, classes):
    """The preset's network; its name ends in the channels of the first stage."""
    width = int(preset.model.split("-")[1])
    return PreActResNet18(width=width, input_shape=(32, 32, 3), classes=classes)


if __name__ == "__main__":
    define_flags(PRESETS)
    app.run(lambda argv: main("cifar10_preact_resnet18", PRESETS, "notebook", build_model))
