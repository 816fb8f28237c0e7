"""Time of every way of a convolution, for each stage of it, over torch's own.

    python benchmarks/convolutions.py                           # some minutes on 2 cores
    python benchmarks/convolutions.py --precision=float32 --kind=pointwise
    python benchmarks/convolutions.py --json=times.json --table=mine.json

A table that it has written is put in use by `keras_dawn.convolutions.use_table("mine.json")`.

The ways take turns; a way's time is the least of its rounds, and the table shows it over that of
torch's own convolution. Beside it, what torch's own reaches in GFLOP/s.
"""

import dataclasses
import json
import time
from pathlib import Path

from keras_dawn.convolutions import table_named
from keras_dawn.convolutions.precisions import PRECISIONS
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.way import STAGES
from keras_dawn.convolutions.ways import TORCH, WAYS
from keras_dawn.dawnbench.records import environment

import command_line
import torch
import ways_table
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_list("precision", list(PRECISIONS.values()), "precisions")
KINDS = ["square", "strided", "pointwise", "narrowing", "depthwise", "large", "series", "grouped"]
flags.DEFINE_list("kind", KINDS, "kinds of convolutions")
flags.DEFINE_list("batch", ["8", "16", "32", "64", "128", "512"], "images at a time")
flags.DEFINE_integer("rounds", 5, "rounds of each shape", lower_bound=1)
flags.DEFINE_float("most_gflop", 8.0, "largest work of a stage")
flags.DEFINE_string("json", None, "file to write the times to")
flags.DEFINE_string("table", None, "file to write the rules to that follow from the times")
flags.DEFINE_bool("busy", False, "other work runs here: one thread, and the processor's own time")
command_line.takes_some_of_its_default("precision", "kind")

LEAST_GFLOP = 0.002
MAPS = (2, 3, 4, 6, 7, 8, 12, 16, 28, 32, 56)
CHANNELS = (32, 64, 128, 256, 512)
HOPELESS = 2  # times torch's own, in two rounds: not measured again


def shapes(kind):
    """The convolutions of a kind, by map, channels and batch."""
    for size in MAPS:
        for channels in CHANNELS:
            for batch in map(int, FLAGS.batch):
                if kind == "square":
                    yield Sizes(batch, channels, channels, (size, size), (3, 3), padding=(1, 1))
                elif kind == "strided" and size % 2 == 0 and size > 2:
                    more = 2 * channels
                    yield Sizes(batch, channels, more, (size, size), (3, 3), (2, 2), (1, 1))
                elif kind == "depthwise" and size > 1:
                    for kernel in (3, 5, 7):
                        for stride in (1, 2):
                            yield _each(batch, channels, size, kernel, stride)
                elif kind == "grouped" and channels > 64:
                    for group in (4, 8, 16):
                        for stride in (1, 2):
                            sides = (size, size), (3, 3), (stride, stride), (1, 1)
                            yield Sizes(batch, channels, channels, *sides, groups=channels // group)
                elif kind == "large" and size > 3 and channels > 32:
                    for kernel in (5, 7):
                        sides = (size, size), (kernel, kernel)
                        padding = kernel // 2, kernel // 2
                        yield Sizes(batch, channels, channels, *sides, padding=padding)
                elif kind == "series":
                    for kernel in (2, 3, 5):
                        yield from _series(batch, channels, size**2, kernel)
                elif kind == "pointwise":
                    yield Sizes(batch, channels, 4 * channels, (size, size), (1, 1))
                elif kind == "narrowing":
                    yield Sizes(batch, 4 * channels, channels, (size, size), (1, 1))
                    if size % 2 == 0:
                        less, more = 2 * channels, 4 * channels
                        yield Sizes(batch, less, more, (size, size), (1, 1), (2, 2))


def _series(batch, channels, steps, kernel):
    """Causal convolutions, padded beforehand as Keras's are, of a WaveNet's steps too."""
    for dilation in (1, 4):
        for filters in (channels, 2 * channels):
            sides = (1, steps + (kernel - 1) * dilation), (1, kernel)
            yield Sizes(batch, channels, filters, *sides, dilation=(1, dilation))


def _each(batch, channels, size, kernel, stride):
    """A depthwise convolution of 1.5 times as many channels: what comes after a widening."""
    channels += channels // 2
    padding = kernel // 2, kernel // 2
    sides = (size, size), (kernel, kernel), (stride, stride)
    return Sizes(batch, channels, channels, *sides, padding, groups=channels)


def gflop(sizes):
    """Work of one stage: multiplications and additions, in 10⁹."""
    (height, width), (rows, columns) = sizes.result, sizes.kernel
    each = 2 * rows * columns * sizes.channels // sizes.groups
    return sizes.batch * height * width * sizes.filters * each / 1e9


def tensor(shape, dtype, scale=1.0):
    """Random numbers, the second axis innermost in memory."""
    memory = torch.randn(shape[0], *shape[2:], shape[1]) * scale
    return memory.to(dtype).permute(0, 3, 1, 2)


def measure(sizes, dtype):
    """For each stage the least seconds of each way."""
    images, change, weight = (
        tensor(sizes.shape(stage), dtype) for stage in ("to_input", "forward", "to_weight")
    )
    given = {
        "forward": (images, weight, sizes),
        "to_input": (change, weight, sizes),
        "to_weight": (images, change, sizes),
    }
    found = {}
    clock = time.process_time if FLAGS.busy else time.perf_counter
    for stage in STAGES:
        calls = {
            name: getattr(way, stage)
            for name, way in WAYS.items()
            if way.takes(stage, sizes) and PRECISIONS[dtype] in way.precisions
        }
        times = {name: [] for name in calls}
        for number in range(FLAGS.rounds + 1):
            for name in list(calls):
                start = clock()
                calls[name](*given[stage])
                elapsed = clock() - start
                if number:
                    times[name].append(elapsed)
                # The least of two: one round may have been slow because something else ran.
                if number == 2 and min(times[name]) > HOPELESS * min(times[TORCH]):
                    del calls[name]
        found[stage] = {name: min(values) for name, values in times.items()}
    return found


def main(argv):
    if FLAGS.busy:
        torch.set_num_threads(1)
    results = []
    for precision in FLAGS.precision:
        for kind in FLAGS.kind:
            for sizes in shapes(kind):
                if not LEAST_GFLOP <= gflop(sizes) <= FLAGS.most_gflop:
                    continue
                with torch.no_grad():
                    found = measure(sizes, getattr(torch, precision))
                threads = torch.get_num_threads()
                results.append(
                    {
                        "precision": precision,
                        "threads": threads,
                        "sizes": dataclasses.astuple(sizes),
                        "seconds": found,
                    }
                )
                print(_line(precision, sizes, found), flush=True)
                if FLAGS.json:
                    document = {**environment(), "results": results}
                    text = json.dumps(document) + "\n"
                    Path(FLAGS.json).write_text(text, encoding="utf-8")
    if FLAGS.table:
        write_table(FLAGS.table, results)


def write_table(path, results):
    """Writes the rules of results as a table that `keras_dawn.convolutions.use_table` takes."""
    rules = ",\n".join(json.dumps(rule) for rule in ways_table.rules(results))
    name = json.dumps(Path(path).stem)
    text = f'{{"name": {name}, "rules": [\n{rules}\n]}}\n'
    Path(path).write_text(text, encoding="utf-8")
    table_named(str(path))  # so that one that cannot be used is noticed here


def _line(precision, sizes, found):
    (height, width), (rows, columns) = sizes.image, sizes.kernel
    what = f"{precision} {sizes.batch} × {height}×{width}, {sizes.channels} → {sizes.filters}"
    parts = [f"{what}, {rows}×{columns} / {sizes.stride[0]}:"]
    for stage, times in found.items():
        own = times[TORCH]
        ratios = sorted((t / own, name) for name, t in times.items() if name != TORCH)
        best = ", ".join(f"{ratio:.2f} {name}" for ratio, name in ratios[:3])
        parts.append(f"{stage} {gflop(sizes) / own:.0f} GFLOP/s, {best};")
    return " ".join(parts)


if __name__ == "__main__":
    command_line.run(main)
