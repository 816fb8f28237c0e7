"""CIFAR-10 to 94 % with a pre-activation ResNet-50 in one cycle: fast.ai's first notebook.

The claim of 2018 (1 × V100): 94.1 % after 60 epochs, "ResNet-50, 15 minutes"; about USD 0.77 at
3.06 an hour. No DAWNBench entry exists for it. This implementation has not been timed on a
GPU, and its accuracy after a whole training has not been measured yet.

    python recipes/cifar10_preact_resnet.py                       # chooses by hardware and data
    python recipes/cifar10_preact_resnet.py --preset=notebook --dataset=cifar10 --runs=5

Measured: `--preset=cpu --dataset=cifar10`, 6 epochs with a quarter of the channels, bfloat16, two
cores of a shared Intel Xeon: 80.36 % after 1,043 s of training while other work ran (seed 0,
n = 1).
"""

from keras_dawn.models import PreActResNet50

from absl import app

from recipe_parts.cifar10 import CIFAR_AUGMENTATION, Preset, define_flags, main, smaller

NOTEBOOK = Preset(
    model="preact_resnet50-64",
    epochs=60,
    batch_size=512,
    max_lr=1.0,
    div_factor=20,
    tail_percent=18,
    weight_decay=2e-4,
)
PRESETS = {
    "notebook": NOTEBOOK,
    # A quarter of the channels, fewer epochs, a simpler augmentation for two CPU cores.
    "cpu": smaller(
        NOTEBOOK,
        model="preact_resnet50-16",
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
    return PreActResNet50(width=width, input_shape=(32, 32, 3), classes=classes)


if __name__ == "__main__":
    define_flags(PRESETS)
    app.run(lambda argv: main("cifar10_preact_resnet", PRESETS, "notebook", build_model))
