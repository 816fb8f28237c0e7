"""CIFAR-10 to 94 % as fast as this machine can: Keller Jordan's network and Muon.

The records that this follows are airbench94 (Jordan 2024, arXiv:2404.00498; 3.83 s on an A100) and
its successor with Muon (2.59 s), each at 94.01 % on average with test-time augmentation. The `cpu`
preset has the successor's settings but one epoch more, nine, in bfloat16 where that is the quicker
(the stem's bias, trained for three epochs, begins at 0 and has the rate of the other biases; his
begins at random and its rate falls to 0 in the three). `cpu_hardest` is the best of a search for
less time: the first two epochs see images of 24 pixels, the last five only the 75 % of the images
that had the largest loss (and some others), the first convolution of the second group, the
costliest, has 128 channels of 256; the third group ends with a third convolution, where the images
are small, as in airbench96, and groups two and three with gates. In float32, convolutions of small
images are Winograd's, which take fewer multiplications.

    python recipes/cifar10_record.py --data_dir=FOLDER --runs=5

The accuracy is that of six views of each test image (mirrored, shifted), evaluated once, after the
last epoch. Three clocks are reported: `training` (whitening and `fit`), `DAWNBench` (with loading
the data and building the network, without evaluation) and `process` (all since the imports, other
runs left out). Of a run that went on from a checkpoint there is DAWNBench's only.

Without CIFAR-10 it trains on digits, in float32: they are grey, so that most filters of the stem
see nothing. In half precision a channel of nothing has a variance of 0 in every normalisation,
which takes its gradient times a million, and the training ends in NaN.

Measured on two cores of a shared AMD EPYC (AVX-512 BF16): `cpu_hardest` in float32, nothing but
text editing beside it, 94.22 % on average over 5 seeds (standard deviation 0.17; 93.21 % without
views) after 876 s of training, 0.57 of the 1,535 s that airbench94's plain loop took in float32
(n = 1), USD 0.031 at USD 0.12751 an hour. That loop in bfloat16 takes some 880 s there by its rate,
as long as the preset, which was not run in bfloat16. So `--preset=auto` is `cpu` in bfloat16 and
`cpu_hardest` in float32, where `cpu` takes longer by rates and was never run whole.

On two cores of a shared Intel Xeon with AMX, bfloat16, `cpu` and airbench94's plain loop in turn,
on seeds that no setting was chosen by: 94.21 % on average over 5 seeds (standard deviation 0.17)
after 668 s of training (median), the loop 93.95 % after 945 s; pair by pair 0.72, 0.51, 0.99, 0.72
and 0.71 of its time, 0.72 in the middle, as neighbours were louder or quieter
(benchmarks/records/2026-11-28_pairs_two_cores_bfloat16/runs.json). Five seeds before, not in turn
with it: 94.23 % after 558 s (2026-11-28_two_cores_bfloat16 beside it).

On one NVIDIA H100 80GB the `gpu` preset came to 94.02 % on average over 21 seeds (12 of them at
94 % or more) after 3.80 s of training (median), airbench94's Muon variant as a plain loop to
94.04 % over 5 seeds after 1.81 s (benchmarks/results/gpu-h100-2026-11-26.json).

`gpu_hiverge` has the settings that Hiverge's program search found since (2.015 s on an A100;
`benchmarks/hiverge.py` is their loop): SiLU after the stem, brightness and contrast, rates, decay
of biases and head, faster moving averages, Muon's coefficients, whitening by 960 images. Left out
are: 7.59 epochs (here 8), the stem's bias in the first 0.19 of an epoch, norms of filters set every
few steps (here each, which makes their decay void), Muon's iteration in float16 (here bfloat16),
and six views of a quarter of the test images (here of all). On two CPU cores in bfloat16 it came to
94.04, 93.84 and 93.95 % (seeds 0 to 2), as many epochs of `gpu`'s settings to 94.13 and 93.80 %. So
it gains nothing here, and `gpu` stays what is chosen on a GPU, where this has not been run.

Each step of the search is in benchmarks/results/record_log.md.
"""

import dataclasses
import math
import sys
import time

import keras_dawn
from keras_dawn import TimeToAccuracy, TrainingClock, data, dawnbench, evaluate_tta
from keras_dawn.data.choose import DATASETS, choose_dataset
from keras_dawn.dawnbench import records
from keras_dawn.evaluation import Views
from keras_dawn.models import whiten
from keras_dawn.native.allocator import keep_freed_memory

import keras
from absl import app, flags
from rich.table import Table

from recipe_parts import record_fits, reporting, run_flags
from recipe_parts.command_line import run
from recipe_parts.record_network import compiled_model, train_bias, ways
from recipe_parts.record_presets import PRESETS
from recipe_parts.seeds import train_seeds

FLAGS = flags.FLAGS
PROCESS = time.perf_counter()


def train(preset, images, seed, folder, clock):
    """Trains once and evaluates; returns a `Result`."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(preset.precision)
    memory = data.LossMemory(len(images.train_images))
    model = compiled_model(preset, images, memory)
    fits = record_fits.load(preset, images, seed, memory)
    timer = TimeToAccuracy(FLAGS.target, clock=clock)
    history = records.HistoryWriter(folder)
    callbacks = [timer, history, train_bias(model, preset.bias_epochs)]
    resume = run_flags.resume_training(f"seed{seed}")
    if resume:
        resume.track("losses", memory)
        callbacks.append(resume)
    begin = time.perf_counter()
    everything = fits[0].data
    whiten(model, everything.normalized(everything.images[: preset.whitening_images]))
    for one in fits:
        clock.resume()  # what a further fit prepares counts too
        model.fit(
            one.data,
            initial_epoch=one.epochs.start,
            epochs=one.epochs.stop,
            callbacks=[one.schedule, *callbacks],
            verbose=1 if sys.stdout.isatty() else 2,
            shuffle=False,  # the data shuffles itself
        )
    seconds = time.perf_counter() - begin
    check_is_finite(history.rows[-1]["loss"], seed, preset.precision)
    plain, views = evaluate(model, images)
    timer.record(preset.epochs - 1, views)
    whole = images.name == "cifar10" and preset.train_images is None
    resumption = run_flags.of_resumption(resume)
    paid = resumption["paid"]
    in_parts = paid is not None and paid["processes"] > 1  # `seconds` are the last one's then
    settings = preset.settings()
    return run_flags.Result(
        timer=timer,
        rows=history.rows,
        schedule=record_fits.values(fits),
        epochs=preset.epochs,
        interrupted=False,
        benchmark=dawnbench.CIFAR10 if whole else None,
        entry={"model": "WhitenedConvNet", "misc": {"optimizer": "Muon and SGD", **settings}},
        description={
            **records.environment(),
            "parameters": model.count_params(),
            "seed": seed,
            "data": images.describe(),
            "settings": settings,
            **resumption,
            "accuracy_without_views": plain,
            "clocks": {
                "training": None if in_parts else seconds,
                "dawnbench": clock.training_seconds(),
            },
        },
    )


def check_is_finite(loss, seed, precision):
    """Raises `FloatingPointError` for the loss of a training that was none."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"The training of seed {seed} in {precision} ended with a loss of {loss}: its accuracy "
            "would be of no network, and nothing is recorded but history.csv. --precision=float32 "
            "may do."
        )


def evaluate(model, images):
    """Test accuracy in percent, of each image as it is and of its six views."""
    test_data = data.DeviceImages(
        images.test_images,
        images.test_labels,
        1000,
        transforms=[images.normalize, data.OneHot(len(images.class_names))],
    )
    plain = model.evaluate(test_data, verbose=0, return_dict=True)
    six = Views(flip=images.name != "digits", shift=1)
    views = evaluate_tta(model, test_data, views=six, average="logits")
    return [round(100 * float(result["accuracy"]), 4) for result in (plain, views)]


def summary(results):
    """Accuracy and the three clocks of each run."""
    table = Table(title="Each run, by three clocks")
    for column in ("seed", "accuracy", "without views", "training", "DAWNBench", "process"):
        table.add_column(column)
    for result in results:
        said = result.description
        table.add_row(
            str(said["seed"]),
            f"{result.timer.records[-1].accuracy:.2f} %",
            f"{said['accuracy_without_views']:.2f} %",
            *("" if s is None else f"{s:.1f} s" for s in said["clocks"].values()),
        )
    reporting.console.print(table)


def precision_for(images, precision):
    """The dtype policy for these images: float32 for digits, which are grey.

    Raises:
        ValueError: another one was asked for.
    """
    if images.name != "digits" or precision == "float32":
        return precision
    if FLAGS.precision != "auto":
        raise ValueError(
            "--precision must be float32 on the digits: they are grey, and the network's training "
            f"on them ends in NaN in half precision; got {precision}."
        )
    return "float32"


def best_preset(precision):
    """The preset that is the quickest to 94 % on this machine in a precision.

    On a processor in float32, Winograd's filtering makes it `cpu_hardest`.
    """
    if keras_dawn.precision.has_gpu():
        return "gpu"
    return "cpu_hardest" if precision == "float32" else "cpu"


def main(argv):
    """Runs the recipe from its flags to its run folder."""
    name = FLAGS.preset
    try:
        if name == "auto":
            name = best_preset(run_flags.read_precision(PRESETS["gpu"].precision))
        if name not in PRESETS:
            raise ValueError(f"--preset must be auto or one of {', '.join(PRESETS)}; got {name!r}.")
        run_flags.refuse_several_processes("cifar10_record")
        run_flags.choose_algorithms()
        precision = run_flags.read_precision(PRESETS[name].precision)
        prices = run_flags.read_prices()
        run_flags.check_given()
        loading = TrainingClock()
        images, reason = choose_dataset(FLAGS.dataset, FLAGS.data_dir, loading.paused)
        preset = dataclasses.replace(PRESETS[name], precision=precision_for(images, precision))
        folder = run_flags.run_folder("cifar10_record", images.name, name)
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from None
    keep_freed_memory()
    if preset.train_images or images.name == "digits":
        count = min(preset.train_images or 1024, len(images.train_images))
        images = images.subset(count, min(preset.test_images or 500, len(images.test_images)))
        preset = dataclasses.replace(preset, batch_size=min(preset.batch_size, 128))
    reporting.banner("cifar10_record", images, reason, folder.path)
    reporting.console.print(f"Preset {name}: {ways(preset)}.")
    loaded = loading.training_seconds()
    ready = time.perf_counter() - PROCESS

    def once(seed, own):
        begin = time.perf_counter()
        result = train(preset, images, seed, own, TrainingClock(loaded))
        clocks, seconds = result.description["clocks"], ready + time.perf_counter() - begin
        # What a run took in earlier processes is not known here.
        clocks["process"] = None if clocks["training"] is None else seconds
        return result

    said = {"recipe": "cifar10_record", "preset": name, "reason": reason}
    summary(train_seeds(once, folder, prices, **said))


if __name__ == "__main__":
    flags.DEFINE_string("preset", "auto", f"auto, or one of: {', '.join(PRESETS)}")
    flags.DEFINE_string("dataset", "auto", f"one of: {', '.join(DATASETS)}")
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    run_flags.define_common(94.0)
    run(main)
