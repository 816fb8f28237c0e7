"""Imagewoof or Imagenette in 5 epochs at 128 px: fast.ai's board of small sets of photos.

The board (https://github.com/fastai/imagenette): 128 px and 5 epochs, weights that begin random,
judged at no more pixels than trained at and without views; the best entries have 76.61 %
(Imagewoof) and 87.43 % (Imagenette), means of 5 runs on GPUs. `--preset=board` is what comes
closest here to fastai's own training of it. It has not been run: neither on a GPU nor on a whole
set.

    python recipes/imagewoof.py                                  # a small network, built-in images
    python recipes/imagewoof.py --data_dir=imagewoof2-320 --preset=board --runs=5
    python recipes/imagewoof.py --data_dir=imagenette2-320 --preset=board --runs=5 --target=87.43
    python recipes/imagewoof.py --data_dir=imagewoof2-160 --preset=small
    python recipes/imagewoof.py --preset=smoke                   # under a minute, no network

Measured (`--preset=small`, 4,600 photos of Imagewoof with the short side at 160 px, 1,800 to
validate; bfloat16, one thread of a shared Intel Xeon beside other work): 52.00 % after the 5 epochs
(seed 0, n = 1), about ten minutes of the processor.

`--data_dir` is a set as it is downloaded: `train/` and `val/` with a folder for each class.

As on the board: every epoch trains at 128 px (growing images would be another row), on random crops
of 35 to 100 % of a photo, mirrored half the time. Validation takes the middle 128 × 128 of each
photo, its short side at 146 px. A residual network with a stem of three convolutions, averages in
the shortcuts, blocks that begin as the identity (He et al. 2018, arXiv:1812.01187) and Mish (Misra
2019, arXiv:1908.08681); labels smoothed by 0.1; a rate that stays and then falls by a cosine. In
place of RAdam, AdamW with a warm-up about as long as RAdam's (Ma & Yarats 2019, arXiv:1910.04209),
and Lookahead around it as there. Left out are self-attention, grouped convolutions and the
squeezing blocks of the best entries. `with_flips` in `run.json` are views: no result of the board.
"""

from keras_dawn import schedules
from keras_dawn.plans import Crops, Phase, TrainingPlan

from recipe_parts import photos
from recipe_parts.command_line import run
from recipe_parts.photo_network import PhotoPreset

BOARD = 76.61  # Imagewoof, 128 px, 5 epochs


def flat_cosine(rate):
    """The rate over a training: a quarter up, half flat, a quarter down."""
    parts = [schedules.linear(0.0, rate), schedules.constant(rate), schedules.cosine(rate, 0.0)]
    return schedules.combine([0.25, 0.5, 0.25], parts)


def plan(batch_size, rate, epochs=5, image_size=128):
    """One phase: the board's rows have one size."""
    curve = flat_cosine(rate)
    phase = Phase(epochs, image_size, batch_size, curve, crops=Crops((0.35, 1.0)))
    return TrainingPlan([phase], f"flat_cosine_{image_size}", "after fastai's train_imagenette.py")


COMMON = {
    "optimizer": "adamw",
    "lookahead": True,
    "label_smoothing": 0.1,
    "no_decay": ("gamma", "beta", "bias"),
    "zero_init_gamma": True,
    "resnet_d": True,
}
PRESETS = {
    # For one GPU, and the whole of Imagewoof or Imagenette.
    "board": PhotoPreset(
        model="resnet50", plan=plan(64, 8e-3), activation="mish", blur_pool=True, **COMMON
    ),
    # For CPU cores and some thousand photos: Mish would double the time of a step there, and of
    # smaller batches there are as many steps as the board's.
    "small": PhotoPreset(model="resnet18", plan=plan(32, 4e-3), **COMMON),
    # Under a minute: shows that everything runs.
    "smoke": PhotoPreset(
        model="resnet18",
        plan=plan(32, 4e-3, epochs=2, image_size=32),
        activation="mish",
        train_images=256,
        val_images=100,
        **COMMON,
    ),
}

if __name__ == "__main__":
    photos.define_flags(PRESETS, BOARD, "accuracy")
    run(lambda argv: photos.main("imagewoof", PRESETS, "board", "accuracy"))
