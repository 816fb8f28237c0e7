"""Plans of published trainings of ResNet-50 on ImageNet, and a small one.

Batch sizes and rates are those of all GPUs; `plan.scaled(1 / 8)` fits one of eight.

The plans of 2018 have the values of the published code. Where its rate moves, that code is one step
ahead: its first step has the second value of the line, its last one the end. It also keeps the
last, smaller batch of an epoch, which is left out here (at batches of 8,192, 156 steps for its
157). So a moving rate is up to one step behind the code's here, and up to 0.7 % from it.

The entries' own JSON files differ from the code: fast.ai's of April 2018 names batches of 128 a GPU
and a drop of the rate at epoch 20, that of 16 machines rates of .2507 and .02507 where the code has
.564 and .0564. imagenet18's later plan of 28 epochs for one machine is not here.
"""

import itertools
import numbers

from keras_dawn.plans.phase import Crops, Phase, Validation
from keras_dawn.plans.plan import TrainingPlan

_SGD = {"momentum": 0.9, "weight_decay": 1e-4}  # of every published training here


def _fastai():
    """fast.ai's DAWNBench entry of April 2018: 8 × V100, 2.96 hours to 93 % top-5.

    The rate warms up epoch by epoch (0.4 over 4, 3, 2, 1) and falls by 10 at 21, 35 and 43.
    """
    small = {"image_size": 128, "batch_size": 8 * 192, "crops": Crops(copies=160), **_SGD}
    middle = {"image_size": 224, "batch_size": 8 * 192, **_SGD}
    large = {"image_size": 288, "batch_size": 8 * 128, "crops": Crops((0.5, 1.0)), **_SGD}
    return TrainingPlan(
        [
            Phase(1, learning_rate=0.4 / 4, **small),
            Phase(1, learning_rate=0.4 / 3, **small),
            Phase(1, learning_rate=0.4 / 2, **small),
            Phase(15, learning_rate=0.4, **small),
            Phase(3, learning_rate=0.4, **middle),
            Phase(14, learning_rate=0.04, **middle),
            Phase(6, learning_rate=0.004, **middle),
            Phase(2, learning_rate=0.004, **large),
            Phase(2, learning_rate=0.0004, **large),
        ],
        "fastai_8gpu",
        "fast.ai, DAWNBench, April 2018: 8 × V100, 45 epochs, 2.96 hours to 93 % top-5",
    )


_COPIES = Crops((0.087, 1.0), copies=352)


def _imagenet18(machines, phases, at_224=_COPIES):
    """The 18-minute follow-up (fast.ai and DIUx, September 2018); 8 V100s a machine."""
    made = []
    for epochs, size, per_gpu, rate in phases:
        crops, validation = Crops(copies=160), Validation()
        if size == 224:
            crops = at_224
        elif size == 288:
            crops, validation = Crops((0.5, 1.0)), Validation(rectangular=True)
        batch_size = 8 * machines * per_gpu
        made.append(
            Phase(epochs, size, batch_size, rate, crops=crops, validation=validation, **_SGD)
        )
    return TrainingPlan(
        made,
        f"imagenet18_{machines}",
        f"fast.ai and DIUx, imagenet18, September 2018: {machines} × 8 V100",
    )


def _modern(epochs, warm_up, change):
    """After FFCV's ResNet-50: one triangle to 1.7 at batch 4096, 160 then 192 px, seen at 256.

    FFCV has 16, 24, 32 epochs and more, none of 18. Its 32 epochs are at 160 px up to the 25th.
    """
    highest, rest = 1.7, epochs - warm_up
    # One straight line from the highest rate to 0, cut in two where the size changes.
    at_change = highest * (epochs - change) / rest
    common = {"batch_size": 4096, "validation": 256, **_SGD}
    return TrainingPlan(
        [
            Phase(warm_up, 160, learning_rate=(1e-4 * highest, highest), **common),
            Phase(change - warm_up, 160, learning_rate=(highest, at_change), **common),
            Phase(epochs - change, 192, learning_rate=(at_change, 0.0), **common),
        ],
        f"modern_{epochs}",
        "after FFCV's rn50 configurations (2022): 8 × A100, global batch 4096, rate 1.7",
    )


def one_cycle_by_size(sizes, epochs, batch_size, max_lr, *, warm_up=0.25, **options):
    """One triangle of the learning rate over a whole training, at growing sizes.

    Args:
        sizes: dict from the fraction of the training in [0, 1) at which a size begins to
            pixels, such as `{0.0: 64, 0.4: 96, 0.8: 128}`.
        epochs: int.
        batch_size: int.
        max_lr: float, reached after `warm_up` of the training; 0 at the end.
        warm_up: float in (0, 1).
        **options: further arguments of every `Phase`.

    Returns:
        `TrainingPlan`. Sizes change at whole epochs.

    Raises:
        ValueError: sizes that do not begin at 0, more of them than the epochs have room for, no
            epoch in which the rate falls, or `epochs` that are no whole number from 1 up, or a
            rate or warm-up that is no number.

    Example:
        >>> plan = one_cycle_by_size({0.0: 64, 0.5: 128}, 8, 64, 0.4)
        >>> [phase.image_size for phase in plan.phases]
        [64, 64, 128]
    """
    if not sizes or min(sizes) != 0 or max(sizes) >= 1:
        raise ValueError(f"`sizes` must begin at 0.0 and stay below 1, got {sizes}.")
    if not isinstance(epochs, numbers.Integral) or epochs < 1:
        raise ValueError(f"`epochs` must be a whole number from 1 up, got {epochs!r}.")
    for name, value in (("max_lr", max_lr), ("warm_up", warm_up)):
        if not isinstance(value, numbers.Real):
            raise ValueError(f"`{name}` must be a number, got {value!r}.")
    changes = {round(start * epochs): size for start, size in sorted(sizes.items())}
    if len(changes) < len(sizes) or max(changes) >= epochs:
        raise ValueError(
            f"{epochs} epochs are too few for sizes at {', '.join(map(str, sorted(sizes)))} of the "
            "training: each has to begin at a whole epoch of its own."
        )
    top = max(1, round(warm_up * epochs))
    if not 0 < warm_up < 1 or top >= epochs:
        raise ValueError(
            f"`warm_up` must leave one of {epochs} epochs or more for the way down, got {warm_up}."
        )
    # A phase has one size and one straight line of the rate: it ends where either changes.
    cuts = sorted({*changes, top, epochs})

    def rate(epoch):
        up = max_lr / 10 + (max_lr - max_lr / 10) * epoch / top  # from a tenth, not from 0
        return up if epoch <= top else max_lr * (epochs - epoch) / (epochs - top)

    phases = []
    for first, last in itertools.pairwise(cuts):
        size = changes[max(start for start in changes if start <= first)]
        ends = (rate(first), rate(last))
        phases.append(Phase(last - first, size, batch_size, ends, **options))
    name = "-".join(str(size) for size in dict.fromkeys(changes.values()))
    return TrainingPlan(phases, f"one_cycle_{name}", "keras_dawn")


def _small():
    """For Imagenette-size sets with a ResNet-18: half the epochs at 64 px."""
    plan = one_cycle_by_size(
        {0.0: 64, 0.5: 96, 0.85: 128},
        epochs=11,
        batch_size=64,
        max_lr=0.1,
        momentum=0.9,
        weight_decay=1e-3,
        crops=Crops((0.35, 1.0)),
        validation=128,
    )
    return TrainingPlan(plan.phases, "small_128", "keras_dawn; measured by benchmarks/resizing.py")


PLANS = {
    plan.name: plan
    for plan in (
        _fastai(),
        _imagenet18(
            1,
            [
                (5, 128, 512, (1.0, 2.0)), (9, 128, 512, 1.0), (2, 224, 224, 0.4375),
                (11, 224, 224, 0.04375), (5, 224, 224, 0.004375), (1, 288, 128, 0.0025),
                (2, 288, 128, 0.00025),
            ],
            at_224=Crops(),  # one machine and sixteen read the originals there
        ),
        _imagenet18(
            4,
            [
                (6, 128, 256, (2.0, 4.0)), (5, 128, 512, 4.0), (2, 128, 512, (4.0, 2.0)),
                (3, 224, 224, 1.75), (7, 224, 224, (1.75, 0.175)), (5, 224, 224, (0.175, 0.0175)),
                (2, 288, 128, (0.01, 0.001)),
            ],
        ),
        _imagenet18(
            8,
            [
                (6, 128, 128, (1.92, 3.84)), (5, 128, 256, 3.84), (3, 128, 256, (3.84, 1.92)),
                (3, 224, 128, 1.92), (6, 224, 224, (1.92, 0.336)), (6, 224, 224, (0.336, 0.0336)),
                (6, 288, 128, (0.0192, 0.00192)),
            ],
        ),
        _imagenet18(
            16,
            [
                (6, 128, 64, (1.88, 3.76)), (10, 128, 128, 3.76), (3, 224, 64, 1.88),
                (12, 224, 192, 0.564), (6, 224, 192, 0.0564), (1, 288, 128, 0.0376),
                (1, 288, 128, 0.00376),
            ],
            at_224=Crops(),
        ),
        _modern(18, warm_up=2, change=14),
        _modern(32, warm_up=2, change=25),
        _small(),
    )
}  # fmt: skip
"""Plans by name: `fastai_8gpu`, `imagenet18_1`, `_4`, `_8`, `_16`, `modern_18`, `modern_32`, and
`small_128` for sets of some thousand photos (Imagenette, Imagewoof) on one device."""
