"""All that `gpu.py` needs on a machine without a network, in parts of a limited size.

    python benchmarks/pack.py --data_dir=FOLDER_WITH_CIFAR10 --out=PACK --part_mib=60

Gathers this project, the wheels that such a machine lacks (for its Python, not this one's), and
CIFAR-10 as lossless pictures, two thirds of the official files' size, from which those are made
again byte for byte. `PACK/part0.tar`, `PACK/part1.tar`, … are as few as there can be: a file at the
end of one may go on in the next. The first begins with the project and the wheels. What to type
there is printed, and in `PACK/README.txt`.

`--has` is a list of what that machine has, one `NAME==VERSION` a line (`pip list --format=freeze`
there); these are not packed, and what is packed fits their versions.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

import command_line
import record_results
from absl import app, flags
from packed_images import pack_batches

FLAGS = flags.FLAGS
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("keras_dawn", "benchmarks", "recipes", "pyproject.toml", "README.md", "LICENSE")
WITH_TORCH = ("torch", "torchvision", "numpy", "pillow", "filelock")
NOT_NEEDED = ("tensorflow-datasets", "importlib-resources", "array-record")  # data are packed
MIB = 2**20
COMMANDS = """\
# On the other machine, in the folder with the parts:
mkdir -p gpu && for part in part*.tar; do tar xf $part -C gpu; done
cd gpu
{python} benchmarks/packed_images.py cifar10 cifar-10-batches-py
{python} -m pip install -q --no-index --no-deps --target site wheels/*.whl
PYTHONPATH=$PWD/site {python} benchmarks/gpu.py --tiny --out=tiny --data_dir=cifar-10-batches-py
PYTHONPATH=$PWD/site {python} benchmarks/gpu.py --out=results --data_dir=cifar-10-batches-py{commit}
"""


def gather(folder):
    """Files for the parts, in their order, as `(name, Path)`."""
    for source in SOURCES:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=_left_out)
        else:
            shutil.copy(ROOT / source, folder / source)
    download_wheels(folder / "wheels")
    if FLAGS.data_dir:
        pack_batches(FLAGS.data_dir, folder / "cifar10")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    # Small files first: the project, then wheels, then the pictures.
    order = ("cifar10", "wheels")
    files.sort(key=lambda path: -next((i for i, n in enumerate(order, 1) if n in path.parts), 9))
    return [(path.relative_to(folder).as_posix(), path) for path in files]


def required():
    """What the package needs that does not come with torch, as `pyproject.toml` says it."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [each.partition(";")[0].strip() for each in document["project"]["dependencies"]]
    beside = {*WITH_TORCH[:3], *NOT_NEEDED}
    return [each for each in wanted if _normal(re.match(r"[\w-]+", each)[0]) not in beside]


def _left_out(folder, names):
    return [name for name in names if name in ("__pycache__", "runs", "site") or name[0] == "."]


def download_wheels(folder):
    """The wheels that the machine lacks, by pip, for its Python and versions."""
    folder.mkdir()
    lines = Path(FLAGS.has).read_text(encoding="utf-8").split() if FLAGS.has else []
    has = {_normal(line.split("==")[0]): line for line in lines if "==" in line}
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
        constraints.write("\n".join(has.values()))
        constraints.flush()
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:"),
                *("--implementation", "cp", "--python-version", FLAGS.python),
                *(option for name in FLAGS.platforms for option in ("--platform", name)),
                *("-d", str(folder), "-c", constraints.name, *required(), *FLAGS.also),
            ],
            check=True,
        )
    installed = has or dict.fromkeys(WITH_TORCH)
    for wheel in folder.iterdir():
        if _normal(wheel.name.split("-")[0]) in installed:
            wheel.unlink()


def _normal(name):
    return name.lower().replace("_", "-")


def split(files, largest):
    """Parts of at most `largest` bytes, each a list of `(name, Path, first byte, bytes)`.

    As few as there can be: a file that does not fit into the rest of a part is cut there. Tar's own
    blocks are counted in.
    """
    parts, room = [[]], 0
    for name, path in files:
        size, start = path.stat().st_size, 0
        while start < size or not size:
            if room < _in_tar(1):
                parts.append([])
                room = largest - _END
            count = min(size - start, room // 512 * 512 - 512)
            whole = count == size
            parts[-1].append((name if whole else f"{name}.piece{start:012}", path, start, count))
            room -= _in_tar(count)
            start += count
            if not size:
                break
    return [part for part in parts if part]


_END = 10240  # tar fills its last record with zeros


def _in_tar(size):
    return 512 * 3 + -(-size // 512) * 512  # a long name has blocks of its own


def write(parts, out):
    """Writes the parts as tar files; returns their paths."""
    out.mkdir(parents=True)
    paths = []
    for number, part in enumerate(parts):
        paths.append(out / f"part{number}.tar")
        with tarfile.open(paths[-1], "w", format=tarfile.GNU_FORMAT) as archive:
            for name, path, start, count in part:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = count, 0o755 if path.suffix == ".sh" else 0o644
                with path.open("rb") as file:
                    file.seek(start)
                    archive.addfile(entry, file)
    return paths


def main(argv):
    out = Path(FLAGS.out)
    if out.exists():
        raise app.UsageError(f"--out={out} exists already; name a new folder.")
    with tempfile.TemporaryDirectory() as scratch:
        parts = split(gather(Path(scratch)), int(FLAGS.part_mib * MIB))
        paths = write(parts, out)
    for path in paths:
        print(f"{path}: {path.stat().st_size / MIB:.1f} MiB")
    commit = record_results.commit()  # there is no git there
    commands = COMMANDS.format(python="python3", commit=f" --commit={commit}" if commit else "")
    if any(".piece" in name for part in parts for name, *_ in part):
        commands = commands.replace("cd gpu\n", "cd gpu\n" + JOIN)
    (out / "README.txt").write_text(commands, encoding="utf-8")
    print(commands)


JOIN = """\
for first in $(find . -name '*.piece000000000000'); do \
cat ${first%.piece*}.piece* > ${first%.piece*} && rm ${first%.piece*}.piece*; done
"""

if __name__ == "__main__":
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    flags.DEFINE_string("out", "pack", "new folder for the parts")
    flags.DEFINE_float("part_mib", 60.0, "largest size of a part", lower_bound=1.0)
    flags.DEFINE_string("python", "3.12", "that machine's Python")
    flags.DEFINE_list("platforms", ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64",
                                    "manylinux_2_17_x86_64", "manylinux2014_x86_64",
                                    "manylinux1_x86_64"], "wheels that run there")  # fmt: skip
    flags.DEFINE_string(
        "has", None, "file with what is installed there; by default torch's packages"
    )
    flags.DEFINE_list("also", [], "more packages, such as matplotlib")
    command_line.run(main)
