"""The parts of `imagenet_rehearsal.py` that train: from the folder of photos to what was found."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from absl import flags
from imagenet_rehearsal_parts import check

FLAGS = flags.FLAGS
RECIPES = Path(__file__).parents[1] / "recipes"


def killed(folder):
    """The recipe with a dead rank, and again; another one that nothing happens to."""
    import torch

    if not Path("/proc/self/environ").exists():
        return {"left_out": "which process is which rank is read from /proc, as Linux has it"}
    # The smoke preset takes 256 and 100 photos, evenly spread over all classes.
    given = ["--preset=smoke", f"--data_dir={folder}", "--precision=float32"]
    given += ["--checkpoint_steps=3", "--threads=1"]

    def run(name, saved, until=None):
        return _recipe(folder, given, name, saved, ranks=FLAGS.ranks, until=until)

    whole = run("whole", "saved_whole")
    check(whole["code"] == 0, f"the recipe failed: {whole['printed'][-2000:]}")
    # In the second epoch, of other pixels than the first.
    hurt = run("hurt", "saved", until="checkpoint-00001-0000003.pt")
    check(hurt["code"] != 0 and "SIGKILL" in hurt["printed"], "nobody speaks of the dead rank")
    check(not _orphans(hurt["ranks"]), "ranks outlive the job")
    again = run("hurt", "saved")
    check(again["code"] == 0, f"it did not go on: {again['printed'][-2000:]}")
    states = [
        torch.load(sorted((folder / name).rglob("*.pt"))[-1], weights_only=False)
        for name in ("saved_whole", "saved")
    ]
    pairs = list(zip(*(state["variables"] for state in states), strict=True))
    check(all(torch.equal(a, b) for a, b in pairs), "bits differ from those of an unbroken run")
    check(states[0]["history"]["loss"] == states[1]["history"]["loss"], "losses differ")
    return {
        "ranks": FLAGS.ranks,
        "seconds_until_the_others_ended": hurt["seconds_after_the_kill"],
        "said": re.findall(r"[^\n]*SIGKILL[^\n]*", hurt["printed"])[0].strip()[-200:],
        "variables_with_the_same_bits": len(pairs),
        "processes": json.loads((folder / "hurt/run.json").read_text(encoding="utf-8"))["paid"][
            "processes"
        ],
    }


def photos(folder):
    """The entry's 45 epochs of real photos with the flags of a run on ImageNet."""
    source = Path(FLAGS.photos_dir)
    own = folder / "photos"
    numbers = []
    for part, count in (("train", FLAGS.photos_a_class), ("val", FLAGS.photos_a_class // 2)):
        for label in sorted(path for path in (source / part).iterdir() if path.is_dir()):
            (own / part / label.name).mkdir(parents=True)
            for path in sorted(label.iterdir())[:count]:
                name = path.name
                if part == "val":  # under the names of ImageNet's
                    numbers.append(len(numbers) + 1)
                    name = f"ILSVRC2012_val_{numbers[-1]:08}.JPEG"
                (own / part / label.name / name).symlink_to(path.resolve())
    left_out = numbers[::7]
    (own / "blacklist.txt").write_text("".join(f"{n}\n" for n in left_out), encoding="utf-8")
    given = [
        "--plan=fastai_8gpu", f"--data_dir={own}", f"--blacklist={own / 'blacklist.txt'}",
        "--checkpoint_seconds=5", "--price_per_hour=24.48", "--price_source=AWS p3.16xlarge, 2018",
        "--stop_at_target", "--target=99.5", "--gradient_compression=bfloat16", "--threads=1",
    ]  # fmt: skip
    done = _recipe(folder, given, "run", "saved_photos", ranks=2, script=__file__)
    check(done["code"] == 0, f"the recipe failed: {done['printed'][-2000:]}")
    return _found(folder / "run", len(numbers), len(left_out))


def _found(run, validated, left_out):
    """What a run's folder says, with so many photos validated on and left out."""
    document = json.loads((run / "run.json").read_text(encoding="utf-8"))
    data = document["data"]
    check(data["left_out_by_blacklist"] == left_out, "the list is not left out")
    check(data["val_images"] == validated - left_out, "the list is not left out")
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "status": document["status"],
        "epochs": len(rows),
        "image_sizes": list(dict.fromkeys(int(float(row["image_size"])) for row in rows)),
        "precision": document["precision"],
        "train_images": data["train_images"],
        "val_images": data["val_images"],
        "left_out": data["left_out_by_blacklist"],
        "training_seconds": document["training_seconds"],
        "top1_and_top5": [float(rows[-1][name]) for name in ("val_accuracy", "val_top5")],
        "files": sorted(path.name for path in run.iterdir()),
    }


def _recipe(
    folder, given, name, saved, *, ranks, script=RECIPES / "imagenet_resnet50.py", until=None
):
    """Runs the recipe under torchrun; kills rank 1 where there is a checkpoint called `until`."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
        str(script), *given, f"--output_dir={folder / name}", f"--checkpoints={folder / saved}",
    ]  # fmt: skip
    found = {"ranks": []}
    with (folder / f"{name}.log").open("w+", encoding="utf-8") as log:
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while until and job.poll() is None:
            if any((folder / saved).rglob(until)):
                found["ranks"] = _children(job.pid)
                os.kill(found["ranks"][1], signal.SIGKILL)
                break
            time.sleep(0.01)
        begin = time.perf_counter()
        found["code"] = job.wait()
        found["seconds_after_the_kill"] = time.perf_counter() - begin
        log.seek(0)
        found["printed"] = log.read()
    return found


def _children(pid):
    """The ranks that torchrun has started, in their order."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    ranks = {}
    for child in map(int, text.split()):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found = [each for each in variables if each.startswith(b"LOCAL_RANK=")]
        if found:
            ranks[int(found[0].partition(b"=")[2])] = child
    return [ranks[rank] for rank in sorted(ranks)]


def _orphans(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


if __name__ == "__main__":  # the recipe with the entry's plan for a small machine
    sys.path.insert(0, str(RECIPES))
    import dataclasses

    import imagenet_resnet50

    from recipe_parts import photos as recipe
    from recipe_parts.command_line import run

    entry = imagenet_resnet50.PRESETS["fastai_8gpu"]
    small = dataclasses.replace(entry, model="resnet18", gpus=1, plan=entry.plan.scaled(1 / 32))
    presets = {**imagenet_resnet50.PRESETS, "fastai_8gpu": small}
    recipe.define_flags(presets)
    run(lambda argv: recipe.main("imagenet_resnet50", presets, "fastai_8gpu"))
