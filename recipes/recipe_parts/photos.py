"""What recipes on photos share: flags, data, one training by a plan."""

import dataclasses
import sys
import tempfile
from pathlib import Path

import keras_dawn
from keras_dawn import TimeToAccuracy, TrainingClock, data, dawnbench
from keras_dawn.dawnbench import records
from keras_dawn.evaluation import evaluate_images

import keras
from absl import app, flags

from recipe_parts import answers, imagenet_entry, projection, reporting, run_flags
from recipe_parts.blacklist import read_blacklist
from recipe_parts.digit_photos import write_digit_photos
from recipe_parts.photo_folder import Photos
from recipe_parts.photo_network import averages, build_model, entry_settings, one_hot
from recipe_parts.seeds import train_seeds

FLAGS = flags.FLAGS


def define_flags(presets, target=93.0, target_on="top5"):
    """The flags of a recipe on photos.

    Args:
        presets: dict from names to `PhotoPreset`.
        target: float, the accuracy to reach by default, in percent.
        target_on: `"top5"` or `"accuracy"`: what that is, where there are more than five classes.
    """
    flags.DEFINE_string("preset", "auto", f"auto, or one of: {', '.join(presets)}")
    flags.DEFINE_string("data_dir", None, "folder with train/ and val/")
    if plans := [name for name in keras_dawn.PLANS if name in presets]:  # those of ImageNet
        flags.DEFINE_string("plan", None, f"the same as --preset, for: {', '.join(plans)}")
        text = "the devkit's list of validation photos to leave out"
        flags.DEFINE_string("blacklist", None, text)
    flags.DEFINE_integer("threads", None, "decoding threads a process", lower_bound=1)
    flags.DEFINE_float("label_smoothing", None, "instead of the preset's", 0.0, 0.9)
    flags.DEFINE_float("ema", None, "momentum of averaged weights, such as 0.999", 0.0, 1.0)
    flags.DEFINE_float("mixup", None, "alpha of MixUp", lower_bound=0.0)
    flags.DEFINE_float("cutmix", None, "alpha of CutMix", lower_bound=0.0)
    flags.DEFINE_bool("dry_run", False, "only print the plan and what it would take")
    flags.DEFINE_integer("gpus", 8, "number of GPUs that --dry_run projects to", lower_bound=1)
    top5 = "validation top-5 accuracy (top-1 of up to five classes)"
    run_flags.define(target, top5 if target_on == "top5" else "validation accuracy")


def main(recipe, presets, entry, target_on="top5"):
    """Runs a recipe from its flags to its run folder; `target_on` as for `define_flags`."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            ranks = keras_dawn.distribute(gradient_compression=FLAGS.gradient_compression)
            clock = TrainingClock()
            name, preset = choose_preset(presets, entry, ranks)
            if FLAGS.mixup and FLAGS.cutmix:
                raise ValueError("Expected --mixup or --cutmix, got both: give one of them.")
            prices = run_flags.read_prices()
            run_flags.check_given()
            check_used()
            run_flags.choose_algorithms()
            precision = run_flags.read_precision("mixed_float16")
            # All ranks at once: each lists ImageNet's 1.28 million photos for itself.
            photos, reason = find_photos(preset, scratch)
            photos.check()
            if FLAGS.dry_run:
                reporting.console.quiet = not ranks.is_main
                reporting.console.print(reason)
                projection.print_projection(preset, photos.train("originals"), precision, prices)
                return
            folder = run_flags.run_folder(recipe, photos.name, name)
        except (ValueError, OSError) as error:
            raise app.UsageError(str(error)) from None
        reporting.console.quiet = not ranks.is_main
        reporting.photo_banner(recipe, photos, reason, preset.plan, folder.path)
        loaded = loaded_by_seed(clock, photos, lambda: find_photos(preset, scratch)[0])

        def once(seed, own):
            own_clock, own_photos = next(loaded)
            timer = time_to(target_on, own_photos, own_clock, prices)
            return train(preset, own_photos, precision, seed, own, timer)

        train_seeds(once, folder, prices, recipe=recipe, preset=name, reason=reason)


def check_used():
    """Raises `ValueError` for flags that were given and would have no effect, or no sense."""
    if not FLAGS.dry_run:
        run_flags.refuse_alone(["gpus"], "--dry_run (torchrun starts a process on each GPU)")
    if FLAGS.ema == 1:
        raise ValueError("--ema must be below 1: the average would never move.")
    if getattr(FLAGS, "blacklist", None) and not FLAGS.data_dir:
        run_flags.refuse_alone(["blacklist"], "--data_dir=FOLDER")


def find_photos(preset, scratch):
    """The photos that the flags ask for, and why these, as `(Photos, str)`."""
    if FLAGS.data_dir:
        listed = getattr(FLAGS, "blacklist", None)
        blacklist = read_blacklist(listed) if listed else frozenset()
        return Photos(FLAGS.data_dir, preset, blacklist), f"Photos in {FLAGS.data_dir}, as asked."
    folder = write_digit_photos(
        Path(scratch) / "digits", preset.train_images or 2000, preset.val_images or 500
    )
    return Photos(folder, preset), (
        "No --data_dir: real digits that come with a package, written as JPEG photos of many sizes."
    )


def loaded_by_seed(clock, photos, find):
    """Yields a clock and photos for each seed: those of the first, then others.

    Loading data counts by DAWNBench's rules, so that every seed lists the photos for itself, copies
    for the phases included, while its clock runs.
    """
    yield clock, photos
    while True:
        clock = TrainingClock()
        yield clock, find()


def choose_preset(presets, entry, ranks):
    """The preset that the flags ask for, scaled to the GPUs that there are."""
    gpu = keras_dawn.precision.has_gpu()
    plan = getattr(FLAGS, "plan", None)
    if plan and FLAGS.preset not in ("auto", plan):
        raise ValueError(f"--plan is the same as --preset: got {plan} and {FLAGS.preset}.")
    name = plan or FLAGS.preset
    if name == "auto":
        name = entry if gpu and FLAGS.data_dir else "small"
    if name not in presets:
        flag = "--plan" if plan else "--preset"
        raise ValueError(f"{flag} must be auto or one of {', '.join(presets)}; got {name!r}.")
    preset = presets[name]
    processes = FLAGS.gpus if FLAGS.dry_run else ranks.world_size
    # A plan's batches are those of all its GPUs together: for fewer, batch and rate shrink alike.
    if preset.gpus > 1 and processes != preset.gpus:
        preset = dataclasses.replace(preset, plan=preset.plan.scaled(processes / preset.gpus))
    if FLAGS.label_smoothing is not None:
        preset = dataclasses.replace(preset, label_smoothing=FLAGS.label_smoothing)
    return name, preset


def time_to(target_on, photos, clock, prices):
    """The `TimeToAccuracy` of a run."""
    # Of five classes the right one is always among the first five.
    target_on = target_on if len(photos.class_names) > 5 else "accuracy"
    return TimeToAccuracy(
        FLAGS.target,
        top5="val_top5",
        target_on=target_on,
        stop_at_target=FLAGS.stop_at_target,
        price_per_hour=prices[0].usd_per_hour if prices else None,
        clock=clock,
    )


def train(preset, photos, precision, seed, folder, timer):
    """Trains once by the plan and returns a `run_flags.Result`."""
    keras.utils.set_random_seed(seed)
    photos.seed = seed
    classes = len(photos.class_names)
    model = build_model(preset, classes, precision)
    hot = [data.OneHot(classes)] if one_hot(preset) else []
    mixing = [data.MixUp(FLAGS.mixup)] if FLAGS.mixup else []
    mixing = [data.CutMix(FLAGS.cutmix)] if FLAGS.cutmix else mixing
    history = records.HistoryWriter(folder)
    callbacks = [timer, *averages(preset), history]
    resume = run_flags.resume_training(f"seed{seed}")
    callbacks += [resume] if resume else []
    interrupted, last, flipped, answered = False, preset.plan.phases[-1], None, None
    try:
        keras_dawn.fit_plan(
            model,
            preset.plan,
            lambda phase: photos.training_data(phase, [*hot, *mixing]),
            validation_data=lambda phase: photos.validation_data(phase, hot),
            callbacks=callbacks,
            verbose=1 if sys.stdout.isatty() else 2,
        )
        timer.clock.pause()  # views with flips are no part of the board's time
        flipped = evaluate_images(model, photos.validation_data(last, hot), flip=True)
        photos.gather_problems()
        for name in ("top1", "top5"):  # records are in percent
            flipped[name] = round(100 * flipped[name], 4)
        answered = answers.of_photos(model, photos, last, folder)
    except KeyboardInterrupt:
        timer.clock.pause()
        interrupted = True
    benchmark, no_entry = None, "The board is for the photos of ImageNet."
    if imagenet_entry.is_imagenet(photos):
        no_entry = imagenet_entry.why_none(photos, flipped["images"] if flipped else None)
        benchmark = None if no_entry else dawnbench.IMAGENET
        if no_entry:
            reporting.console.print(f"No DAWNBench entry: {no_entry}")
    return run_flags.Result(
        timer=timer,
        rows=history.rows,
        schedule=preset.plan.values_by_epoch(),
        epochs=preset.plan.epochs,
        interrupted=interrupted,
        benchmark=benchmark,
        entry={
            "model": preset.model,
            "misc": entry_settings(preset, precision),
            "used_blacklist": not photos.blacklist,
        },
        description={
            **records.environment(),
            **describe(model, photos, preset, precision, seed),
            "no_entry": no_entry,
            "with_flips": flipped,
            "answers": answered,
            **run_flags.of_resumption(resume),
        },
    )


def describe(model, photos, preset, precision, seed):
    """What was trained on what, for `run.json`."""
    return {
        "model": model.name,
        "parameters": model.count_params(),
        "seed": seed,
        "precision": precision,
        "data": {
            "name": photos.name,
            "train_images": len(photos.train("originals")),
            "val_images": len(photos.val("originals")),
            "left_out_by_blacklist": len(photos.blacklist),
            "classes": len(photos.class_names),
            "originals_in_place_of_copies": sorted(photos.fell_back),
            "validated_on": photos.validated_on,
            "problems": photos.problems(),
        },
        "settings": preset.settings(),  # batch sizes and rates are those of all processes
        "synchronize_batch_norm": FLAGS.synchronize_batch_norm,
        "gradient_compression": FLAGS.gradient_compression,
        "ema": FLAGS.ema,
        "mixup": FLAGS.mixup,
        "cutmix": FLAGS.cutmix,
    }
