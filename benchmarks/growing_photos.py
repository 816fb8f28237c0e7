"""What comparisons on folders of photos train: a residual network by a plan of image sizes."""

import keras_dawn
from keras_dawn import TimeToAccuracy, TrainingClock, fit_plan
from keras_dawn.data import RandomFlip, Shuffled
from keras_dawn.data.photos import RandomResizedCrop, ResizingImages, ValidationImages
from keras_dawn.foundation.precision import best_precision

import keras


def sizes_of(entries):
    """The sizes of a flag such as `0.0:64,0.5:96`: dict from fraction of the training to pixels."""
    return {float(start): int(pixels) for start, pixels in (entry.split(":") for entry in entries)}


def train(depth, plan, max_lr, seed, train_source, val_source, target):
    """Trains a `ResNet` once, in the processor's best precision.

    Args:
        depth: int, of the network.
        plan: `TrainingPlan`, with crops and a size for validation.
        max_lr: float, the optimizer's rate before the plan sets it.
        seed: int, of weights and data.
        train_source, val_source: sources of photos.
        target: float, accuracy in percent at which the clock stops.

    Returns:
        `(training seconds, accuracy in percent)` of every epoch.
    """
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(best_precision())
    classes = len(train_source.class_names)
    model = keras_dawn.models.ResNet(depth, classes=classes, zero_init_gamma=True)
    model.compile(
        keras_dawn.SGD(max_lr, momentum=0.9, weight_decay=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras_dawn.accelerate(model)

    def training(phase):
        return ResizingImages(
            train_source,
            phase.batch_size,
            image_size=phase.image_size,
            transforms=[RandomResizedCrop(phase.crops.scale), RandomFlip()],
            sampler=Shuffled(seed),
        )

    def validation(phase):
        return ValidationImages(val_source, 128, image_size=phase.evaluated_at)

    timer = TimeToAccuracy(target, clock=TrainingClock())
    fit_plan(model, plan, training, validation_data=validation, callbacks=[timer], verbose=0)
    return [(record.training_seconds, record.accuracy) for record in timer.records]
