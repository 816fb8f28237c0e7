"""Presets of recipes on photos, and the compiled network that one asks for."""

import dataclasses

import keras_dawn
from keras_dawn.plans import TrainingPlan

import keras
from absl import flags

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class PhotoPreset:
    """Everything that decides a run besides the data and the seed.

    Args:
        model: `resnet` and its depth.
        plan: `TrainingPlan`, its batch sizes and rates for `gpus`.
        gpus: int, how many GPUs the plan is for; 1 means that it is not scaled.
        label_smoothing: float.
        no_decay: patterns of variables that are not decayed.
        zero_init_gamma, blur_pool, resnet_d, activation: options of the network.
        head_deviation: float, of the normal distribution that the last layer begins with, or `None`
            for torch's uniform one.
        optimizer: `"sgd"`, or `"adamw"` with the settings of `ADAMW`.
        lookahead: bool, whether slow weights follow the optimizer's.
        train_images, val_images: int, how many to use, or `None` for all.
    """

    model: str
    plan: TrainingPlan
    gpus: int = 1
    label_smoothing: float = 0.0
    no_decay: tuple = ()
    zero_init_gamma: bool = False
    head_deviation: float | None = None
    blur_pool: bool = False
    resnet_d: bool = False
    activation: str = "relu"
    optimizer: str = "sgd"
    lookahead: bool = False
    train_images: int | None = None
    val_images: int | None = None

    def settings(self):
        """The preset as a dict of plain values, for records."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "plan": self.plan.table(), "plan_name": self.plan.name}


# fastai's, for its board of Imagenette: less memory of squares than Adam's usual 0.999.
ADAMW = {"weight_decay": 1e-2, "beta_1": 0.95, "beta_2": 0.99, "epsilon": 1e-6}


def build_network(preset, classes):
    """The preset's network."""
    model = keras_dawn.models.ResNet(
        int(preset.model.removeprefix("resnet")),
        classes=classes,
        zero_init_gamma=preset.zero_init_gamma,
        blur_pool=preset.blur_pool,
        resnet_d=preset.resnet_d,
        activation=preset.activation,
    )
    if preset.head_deviation is not None:
        head = model.get_layer("predictions")
        draw = keras.initializers.RandomNormal(0.0, preset.head_deviation)
        head.kernel.assign(draw(head.kernel.shape, head.kernel.dtype))
    return model


def build_optimizer(preset):
    """The preset's optimizer; the plan sets its rate."""
    if preset.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(1e-3, **ADAMW)
        return keras_dawn.optimizers.layerwise(
            optimizer, decays=dict.fromkeys(preset.no_decay, 0.0)
        )
    return keras_dawn.SGD(0.1, momentum=0.9, no_decay=preset.no_decay)


def build_model(preset, classes, precision):
    """The preset's network with its optimizer, compiled and accelerated."""
    keras.config.set_dtype_policy(precision)
    model = build_network(preset, classes)
    if FLAGS.synchronize_batch_norm:
        keras_dawn.distributed.synchronize_batch_normalization(model)
    optimizer = build_optimizer(preset)
    if precision == "mixed_float16":
        # Keras begins at 32,768, and each step that overflows on the way down is lost.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
    top5 = min(5, classes)
    if one_hot(preset):
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=preset.label_smoothing
        )
        top5 = keras.metrics.TopKCategoricalAccuracy(top5, name="top5")
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        top5 = keras.metrics.SparseTopKCategoricalAccuracy(top5, name="top5")
    model.compile(optimizer, loss=loss, metrics=["accuracy", top5])
    return keras_dawn.accelerate(model)


def averages(preset):
    """The callbacks that average the weights; the last of them says what the training ends with."""
    found = []
    if preset.lookahead:
        found.append(keras_dawn.callbacks.Lookahead(every=6))
        found[0].goes_on = bool(FLAGS.ema)  # the slow weights are not the last word then
    if FLAGS.ema:
        found.append(keras_dawn.callbacks.ExponentialMovingAverage(FLAGS.ema))
    return found


def entry_settings(preset, precision):
    """The settings that a DAWNBench entry states."""
    sgd = "SGD (torch form, coupled L2)"
    return {
        "optimizer": sgd if preset.optimizer == "sgd" else preset.optimizer,
        "notDecayed": list(preset.no_decay),
        "labelSmoothing": preset.label_smoothing,
        "precision": precision,
        "plan": preset.plan.table(),
    }


def one_hot(preset):
    """Whether labels must be one-hot: for smoothing and mixing."""
    return bool(preset.label_smoothing or FLAGS.mixup or FLAGS.cutmix)
