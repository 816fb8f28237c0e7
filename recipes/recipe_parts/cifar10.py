"""What the CIFAR-10 recipes share: flags, one training, several seeds."""

import dataclasses
import sys

import keras_dawn
from keras_dawn import (
    TimeToAccuracy,
    TrainingClock,
    data,
    dawnbench,
    evaluate_tta,
)
from keras_dawn.data.choose import DATASETS, choose_dataset
from keras_dawn.dawnbench import records
from keras_dawn.evaluation import Views

import keras
from absl import app, flags

from recipe_parts import answers, reporting, run_flags
from recipe_parts.cifar10_presets import DIGITS_AUGMENTATION, entry_settings
from recipe_parts.seeds import train_seeds

FLAGS = flags.FLAGS


def define_flags(presets, target=94.0):
    """The flags of a CIFAR-10 recipe."""
    flags.DEFINE_string("preset", "auto", f"auto, or one of: {', '.join(presets)}")
    flags.DEFINE_string("dataset", "auto", f"one of: {', '.join(DATASETS)}")
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    flags.DEFINE_integer("epochs", None, "instead of the preset's", lower_bound=1)
    flags.DEFINE_integer("batch_size", None, "instead of the preset's", lower_bound=1)
    flags.DEFINE_float("max_lr", None, "highest learning rate instead of the preset's")
    flags.DEFINE_bool("tta", False, "also report the accuracy with test-time augmentation")
    run_flags.define(target)


def main(recipe, presets, entry_preset, build_model, loss_scale="static, 512"):
    """Runs a recipe from its flags to its run folder.

    Args:
        recipe: str, its name.
        presets: dict from name to `Preset`.
        entry_preset: name of the preset that reproduces the historical entry.
        build_model: callable `(preset, classes) -> keras.Model` that returns logits.
        loss_scale: str, how that entry scaled its loss in half precision.
    """
    try:
        ranks = keras_dawn.distribute(gradient_compression=FLAGS.gradient_compression)
        name, preset = choose_preset(presets, entry_preset)
        prices = run_flags.read_prices()
        run_flags.check_given()
        started = TrainingClock()
        with keras_dawn.distributed.main_first():  # one of them downloads
            images, reason = choose_dataset(FLAGS.dataset, FLAGS.data_dir, started.paused)
        folder = run_flags.run_folder(recipe, images.name, name)
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from None
    reporting.console.quiet = not ranks.is_main
    preset = _for_dataset(preset, images)
    if preset.train_images:
        images = images.subset(preset.train_images, preset.test_images)
    reporting.banner(recipe, images, reason, folder.path)
    reporting.differences(presets[entry_preset], preset, entry_preset, name, loss_scale)
    load_seconds = started.training_seconds()

    def once(seed, own):
        clock = TrainingClock(load_seconds)
        return train(preset, images, build_model, seed, own, clock, prices)

    train_seeds(once, folder, prices, recipe=recipe, preset=name, reason=reason)


def train(preset, images, build_model, seed, folder, clock, prices):
    """Trains once and returns a `Result`; Ctrl-C ends it early and keeps what there is."""
    keras.utils.set_random_seed(seed)
    train_data, test_data = load_on_device(preset, images, seed)
    model = compile_model(preset, build_model, len(images.class_names))
    keras_dawn.accelerate(model)  # the same fit, as straight PyTorch
    timer = TimeToAccuracy(
        FLAGS.target,
        stop_at_target=FLAGS.stop_at_target,
        price_per_hour=prices[0].usd_per_hour if prices else None,
        clock=clock,
    )
    cycle = preset.schedule()
    history = records.HistoryWriter(folder)
    callbacks = [timer, cycle, history]
    resume = run_flags.resume_training(f"seed{seed}")
    callbacks += [resume] if resume else []
    interrupted = False
    try:
        model.fit(
            train_data,
            validation_data=test_data,
            epochs=preset.epochs,
            callbacks=callbacks,
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,  # the data shuffles itself
        )
    except KeyboardInterrupt:
        interrupted = True
    clock.pause()
    answered = None if interrupted else answers.of_arrays(model, images, test_data, folder)
    tta = None
    if FLAGS.tta and not interrupted:
        tta = evaluate_tta(model, test_data, views=Views(flip=images.name != "digits", shift=1))
    whole = images.name == "cifar10" and preset.train_images is None
    return run_flags.Result(
        timer=timer,
        rows=history.rows,
        schedule=cycle.values(preset.epochs, len(train_data)),
        epochs=preset.epochs,
        interrupted=interrupted,
        benchmark=dawnbench.CIFAR10 if whole else None,
        entry={"model": preset.model, "misc": entry_settings(preset)},
        description={
            **records.environment(),
            **describe(model, images, preset, seed),
            "test_time_augmentation": tta,
            "answers": answered,
            **run_flags.of_resumption(resume),
        },
    )


def load_on_device(preset, images, seed):
    """The training and the test images as data for `fit`."""
    train_data = data.DeviceImages(
        images.train_images,
        images.train_labels,
        preset.batch_size,
        transforms=[*preset.augmentation, images.normalize],
        sampler=data.Shuffled(seed),
    )
    test_data = data.DeviceImages(
        images.test_images,
        images.test_labels,
        min(2 * preset.batch_size, 1000),
        transforms=[images.normalize],
    )
    return train_data, test_data


def compile_model(preset, build_model, classes):
    """The preset's network with its optimizer, in its precision."""
    keras.config.set_dtype_policy(preset.precision)
    model = build_model(preset, classes)
    if FLAGS.synchronize_batch_norm:
        keras_dawn.distributed.synchronize_batch_normalization(model)
    optimizer = keras_dawn.SGD(
        preset.max_lr,
        momentum=preset.momentum[0],
        nesterov=preset.nesterov,
        weight_decay=preset.weight_decay,
    )
    if preset.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
    model.compile(
        optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def describe(model, images, preset, seed):
    """What was trained on what, for `run.json`."""
    return {
        "model": model.name,
        "parameters": model.count_params(),
        "seed": seed,
        "data": images.describe(),
        "settings": preset.settings(),  # the batch size is that of all processes together
        "synchronize_batch_norm": FLAGS.synchronize_batch_norm,
        "gradient_compression": FLAGS.gradient_compression,
    }


def choose_preset(presets, entry_preset):
    """The preset that the flags ask for, as `(name, Preset)`."""
    gpu = keras_dawn.precision.has_gpu()
    name = FLAGS.preset
    if name == "auto":
        name = entry_preset if gpu else "cpu"
    if name not in presets:
        raise ValueError(f"--preset must be auto or one of {', '.join(presets)}; got {name!r}.")
    changes = {
        key: FLAGS[key].value
        for key in ("epochs", "batch_size", "max_lr")
        if FLAGS[key].value is not None
    }
    if changes.get("max_lr", 1.0) <= 0:
        raise ValueError(f"--max_lr must be above 0; got {changes['max_lr']}.")
    run_flags.choose_algorithms()
    precision = run_flags.read_precision(presets[name].precision)
    return name, dataclasses.replace(presets[name], precision=precision, **changes)


def _for_dataset(preset, images):
    if images.name == "digits":  # a mirrored digit is another sign
        return dataclasses.replace(preset, augmentation=DIGITS_AUGMENTATION)
    return preset
