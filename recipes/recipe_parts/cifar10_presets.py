"""The settings of a CIFAR-10 recipe: one preset for each kind of machine, and the entry's own."""

import dataclasses

from keras_dawn import OneCycle, ParameterSchedule, data

CIFAR_AUGMENTATION = (data.PadCrop(4), data.RandomFlip())
ENTRY_AUGMENTATION = (
    data.PadCrop(4),
    data.ColorJitter(0.25, 0.25, 0.25),
    data.RandomRotation(2),
    data.RandomFlip(),
)
DIGITS_AUGMENTATION = (data.PadCrop(2), data.RandomRotation(8))


@dataclasses.dataclass(frozen=True)
class Preset:
    """Everything that decides a run besides the data and the seed.

    Args:
        model: str, what `build_model` makes of it.
        epochs, batch_size: int; the batch is that of all processes.
        max_lr: float, the highest learning rate.
        weight_decay: float, coupled.
        div_factor, tail_fraction, momentum: of the one-cycle policy as DAWNBench's entries had
            it; the first momentum is the one that the optimizer starts with.
        curve: callable from the preset to a curve of the learning rate, in place of one cycle;
            momentum then stays constant.
        nesterov: bool.
        augmentation: transforms (`keras_dawn.data`).
        precision: dtype policy on a GPU.
        train_images, test_images: int, how many to use, or `None` for all.
    """

    model: str
    epochs: int
    batch_size: int
    max_lr: float
    weight_decay: float
    div_factor: float = 25.0
    tail_fraction: float = 0.1
    momentum: tuple = (0.95, 0.85)
    curve: object = None
    nesterov: bool = False
    augmentation: tuple = ENTRY_AUGMENTATION
    precision: str = "mixed_float16"
    train_images: int | None = None
    test_images: int | None = None

    def settings(self):
        """The preset as a dict of plain values, for tables and records."""
        values = dataclasses.asdict(self)
        values["augmentation"] = [repr(transform) for transform in self.augmentation]
        if self.curve is not None:
            values["curve"] = repr(self.curve(self))
            del values["div_factor"], values["tail_fraction"]
        return values

    def schedule(self):
        """The callback that sets the learning rate, and momentum under one cycle."""
        if self.curve is not None:
            return ParameterSchedule({"learning_rate": self.curve(self)})
        return OneCycle(
            self.max_lr,
            "dawnbench",
            div_factor=self.div_factor,
            tail_fraction=self.tail_fraction,
            momentum=self.momentum,
        )


def smaller(entry, *, max_lr=0.05, **changes):
    """An entry's preset made for two CPU cores: batches of 128, or of 32 for a few images."""
    batch_size = 32 if "train_images" in changes else 128
    settings = {"epochs": 2, "batch_size": batch_size, "max_lr": max_lr, **changes}
    return dataclasses.replace(entry, **settings)


def entry_settings(preset):
    """The settings that a DAWNBench entry states."""
    tail = f"{100 * preset.tail_fraction:g} %"
    return {
        "optimizer": "SGD (torch form, coupled L2)",
        "momentum": list(preset.momentum),
        "weightDecay": preset.weight_decay,
        "batchSize": preset.batch_size,
        "epochs": preset.epochs,
        "precision": preset.precision,
        "nesterov": preset.nesterov,
        "learningRate": repr(preset.curve(preset))
        if preset.curve is not None
        else f"one cycle to {preset.max_lr}, div {preset.div_factor}, tail {tail}",
    }
