"""CIFAR-10 to 94 % with pre-activation ResNets in one cycle: fast.ai's two notebooks.

The claims of 2018 (1 × V100; no DAWNBench entry exists for either):

    --depth=18   94.2 % after 65 epochs, "ResNet-18, 10 minutes"; about USD 0.51 at 3.06 an hour
    --depth=50   94.1 % after 60 epochs, "ResNet-50, 15 minutes"; about USD 0.77

This implementation has not been timed on a GPU, and its accuracy after a whole training has not
been measured yet.

    python recipes/cifar10_preact_resnet.py                       # chooses by hardware and data
    python recipes/cifar10_preact_resnet.py --depth=50 --preset=notebook --dataset=cifar10 --runs=5

Measured: `--preset=cpu --dataset=cifar10`, 6 epochs, bfloat16, two cores of a shared Intel Xeon,
while other work ran (seed 0, n = 1): half the channels and depth 18 came to 84.71 % after 933 s
of training, a quarter of the channels and depth 50 to 80.36 % after 1,043 s.
"""

from keras_dawn.models import PreActResNet18, PreActResNet50

from absl import flags

from recipe_parts.cifar10 import define_flags, main
from recipe_parts.cifar10_presets import CIFAR_AUGMENTATION, Preset, smaller
from recipe_parts.command_line import run

NETWORKS = {18: PreActResNet18, 50: PreActResNet50}
NOTEBOOKS = {
    18: Preset(
        model="preact_resnet18-64",
        epochs=65,
        batch_size=512,
        max_lr=1.2,
        div_factor=30,
        tail_fraction=0.2,
        weight_decay=2e-4,
    ),
    50: Preset(
        model="preact_resnet50-64",
        epochs=60,
        batch_size=512,
        max_lr=1.0,
        div_factor=20,
        tail_fraction=0.18,
        weight_decay=2e-4,
    ),
}
LOSS_SCALES = {18: "static, 256", 50: "not stated"}
CPU_WIDTHS = {18: 32, 50: 16}  # half, and a quarter of the channels


def presets(depth):
    """The presets of a depth, by name."""
    notebook = NOTEBOOKS[depth]
    return {
        "notebook": notebook,
        # Fewer channels and epochs and a simpler augmentation for two CPU cores.
        "cpu": smaller(
            notebook,
            model=f"preact_resnet{depth}-{CPU_WIDTHS[depth]}",
            epochs=6,
            max_lr=0.2,
            weight_decay=5e-4,
            augmentation=CIFAR_AUGMENTATION,
        ),
        # Under a minute: shows that everything runs.
        "smoke": smaller(notebook, train_images=64, test_images=32),
    }


def build_model(preset, classes):
    """The preset's network; its name has the depth and the channels of the first stage."""
    depth, width = map(int, preset.model.removeprefix("preact_resnet").split("-"))
    return NETWORKS[depth](width=width, input_shape=(32, 32, 3), classes=classes)


def train(argv):
    """Runs the recipe at the depth that the flags ask for."""
    depth = int(flags.FLAGS.depth)
    name = f"cifar10_preact_resnet{depth}"
    main(name, presets(depth), "notebook", build_model, LOSS_SCALES[depth])


if __name__ == "__main__":
    flags.DEFINE_enum("depth", "18", [str(depth) for depth in NETWORKS], "layers of the network")
    define_flags(presets(18))  # both depths have presets of the same names
    run(train)
