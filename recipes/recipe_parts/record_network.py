"""The network of the record recipe, with its optimizer, and the end of its stem's bias."""

import keras_dawn
from keras_dawn.convolutions import table_in_use
from keras_dawn.models import WhitenedConvNet
from keras_dawn.models.whitened import WHITENING
from keras_dawn.optimizers import Muon

import keras


def compiled_model(preset, images, memory):
    """The network with its optimizer and metrics, accelerated."""
    channels = images.train_images.shape[-1]
    model = WhitenedConvNet(
        preset.widths,
        shortcuts=preset.shortcuts,
        gates=preset.gates,
        winograd=_by_winograd(preset),
        input_shape=(None, None, channels),
        classes=len(images.class_names),
        activation=preset.activation,
        stem_activation=preset.stem_activation,
        normalization_momentum=preset.normalization_momentum,
        whitening_bias=preset.bias_epochs > 0,
    )
    model.compile(
        Muon(
            preset.max_lr,
            momentum=preset.momentum,
            sgd_momentum=preset.sgd_momentum,
            normalize_weights=True,
            newton_schulz_steps=3,
            newton_schulz_coefficients=preset.newton_schulz,
            adjustment=None,
            compute_dtype="float32" if preset.precision == "float32" else "bfloat16",
            weight_decay=preset.shrink / preset.head_lr,
            no_decay=["conv", "gate/kernel"],  # their norm is fixed
            decay_multipliers={"beta|bias": preset.head_lr / preset.bias_lr},
            rate_multipliers={
                "beta|bias": preset.bias_lr / preset.max_lr,
                "predictions": preset.head_lr / preset.max_lr,
            },
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=preset.label_smoothing
        ),
        metrics=["accuracy", *([memory] if preset.hard_from is not None else [])],
    )
    return keras_dawn.accelerate(model)  # the same fit, as straight PyTorch


def ways(preset):
    """What the network computes in and how its convolutions go on this machine, as text."""
    gpu = keras_dawn.precision.has_gpu()
    others = "by cuDNN" if gpu else f"by the table {table_in_use().identity!r}"
    small = ", those of small images by Winograd's filtering" * _by_winograd(preset)
    return f"{preset.precision}, convolutions {others}{small}"


def _by_winograd(preset):
    """Only in float32: in half precision the transforms cost accuracy, and the table gains more."""
    return preset.winograd and preset.precision == "float32"


def train_bias(model, epochs):
    """A callback that ends the training of the stem's bias: its gradient costs a convolution."""

    def set_trainable(epoch, logs):
        if model.get_layer(WHITENING).use_bias:
            model.get_layer(WHITENING).bias.trainable = epoch < epochs

    return keras.callbacks.LambdaCallback(on_epoch_begin=set_trainable)
