"""What the project claims about GPUs, part after part in the order of their worth.

    python benchmarks/gpu.py --data_dir=FOLDER_WITH_CIFAR10 --out=FOLDER --max_minutes=6

Works without the package installed. Each part runs in a process of its own, at most as long as
`PARTS` says, and keeps what it has found after each case: neither an error nor the end of the time
loses what was measured, and a part that fails or runs over ends alone. All of it is in
`FOLDER/gpu.json`, which is written as the parts go on, with the command, versions and hardware. A
second call with this file goes on: first with the parts that have nothing yet, then with the cases
that others lack; on another machine, or small where that was not, it is refused. What else is
written (run folders, checkpoints of the parts) goes to `--runs_dir`, by default a folder beside
`--out`. `pack.py` packs all of this for a machine without a network, where `--commit` says the
commit to the runs of the record.

* `checks`: `gpu_checks.py`, correctness that a processor cannot show.
* `steps`: training steps of ResNet-50 (224 px) and WRN-22-6 (32 px) in bfloat16 and float16: ours
  under `fit` with and without CUDA graphs, plain Keras, and hand-written loops (channels_last,
  fused SGD, autocast) with and without a CUDA graph, interleaved, 50 steps a turn.
* `record`: one seed of the record recipe and one each of airbench94's Muon variant and of Hiverge's
  successor as plain loops.
* `recipe`: the CIFAR-10 recipe with the settings of fast.ai's one-GPU entry, to 94 %.
* `compiled`: the same steps beside the hand-written loop under `torch.compile`.
* `kernels`: what the profiler sees of a step: launches, busy time, the largest kernels.
* `normalizations`: half-precision batch normalisation by cuDNN and by torch's own kernels.
* `sizes`: ResNet-50 at 128 and 288 px, from which `projection` follows: hours on ImageNet.
* `heuristics`: the first steps with algorithms that cuDNN guesses, where all others time them.
* `photos`: ResNet-50 on photos at 128 px: decoding, steps, and both at once.
* `seeds`: 20 more seeds of the record recipe and 4 of each loop.

`--tiny` runs all of it small, also on a processor, to see that the script itself is right. What a
processor cannot show is reported as skipped, with the reason.
"""

import json
import os
import sys
import time
from pathlib import Path

import command_line
import gpu_document
import gpu_report
from absl import app, flags
from gpu_parts import PARTS, Supervisor, run_here

ROOT = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, ROOT)  # where the package is not installed; the parts and recipes find it, too
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
FLAGS = flags.FLAGS
flags.DEFINE_bool("tiny", False, "small sizes, to test the script")
flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
flags.DEFINE_string("photos_dir", None, "folder of photos, one of JPEG files for each class")
flags.DEFINE_string("out", "gpu_results", "folder for gpu.json; continued if it exists")
flags.DEFINE_string("runs_dir", None, "folder for all other files; by default OUT_runs")
flags.DEFINE_float("max_minutes", 10.0, "for all parts together", lower_bound=0.1)
flags.DEFINE_list("parts", [], "run these parts alone; by default all")
flags.DEFINE_float("price_per_hour", None, "USD an hour of such a GPU, for the projection")
flags.DEFINE_bool("cudnn_benchmark", True, "let cuDNN try its algorithms, in every contestant")
flags.DEFINE_string("commit", None, "this project's commit, where there is no git to say it")
flags.DEFINE_string("part", None, "runs this one part in this process")


def main(argv):
    unknown = {*FLAGS.parts, *([FLAGS.part] if FLAGS.part else [])} - set(PARTS)
    if unknown:
        raise app.UsageError(f"parts are {', '.join(PARTS)}; got {', '.join(sorted(unknown))}.")
    out = Path(FLAGS.out)
    FLAGS.runs_dir = FLAGS.runs_dir or f"{out}_runs"
    runs = Path(FLAGS.runs_dir)
    for folder in (out, runs):
        folder.mkdir(parents=True, exist_ok=True)
    if FLAGS.part:
        run_here(FLAGS.part)
        return
    deadline = time.monotonic() + 60 * FLAGS.max_minutes
    settings = {name: FLAGS[name].value for name in ("tiny", "cudnn_benchmark", "photos_dir")}
    try:
        document = gpu_document.opened(out / "gpu.json", settings, gpu_document.environment())
    except ValueError as error:
        sys.exit(str(error))
    supervisor = Supervisor(out / "gpu.json", document, runs, deadline)
    supervisor.run([name for name in PARTS if not FLAGS.parts or name in FLAGS.parts])
    document["projection"] = gpu_report.projection(document, FLAGS.price_per_hour)
    supervisor.write()
    gpu_report.show(document)
    failed = gpu_report.failures(json.loads(json.dumps(document)))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    command_line.run(main)
