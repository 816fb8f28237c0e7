"""A GPU that is not there: torch's own CUDA host code over a runtime whose kernels do nothing.

Device memory is host memory. Launches, waits and copies are counted, and what a capture of a CUDA
graph forbids is refused. Values are garbage; time means nothing. What is built is kept in the
user's cache. `run` starts a program on it; inside the program, `counters.py` counts.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("runtime.cpp", "driver.cpp", "libraries.c", "nvrtc.c")


def why_not():
    """Why the null GPU cannot be built here, or `None`."""
    import torch

    if sys.platform != "linux":
        return "it is made for Linux"
    if not (torch.version.cuda or "").startswith("13."):
        return f"it stands in for CUDA 13, and torch is built for {torch.version.cuda}"
    if not (shutil.which("gcc") and shutil.which("g++")):
        return "it needs gcc and g++"
    if not all((folder / name).exists() for folder, name in _headers()):
        return "the CUDA headers that come with torch's wheels are missing"
    return None


def _headers():
    import torch

    site = Path(torch.__file__).parent.parent
    runtime, driver = site / "nvidia/cu13/include", site / "triton/backends/nvidia/include"
    return (runtime, "cuda_runtime_api.h"), (driver, "cuda.h")


def build():
    """Builds the libraries once for each state of their sources; returns their folder."""
    content = b"".join((HERE / name).read_bytes() for name in SOURCES)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keras_dawn_nullgpu"
    folder = cache / hashlib.md5(content).hexdigest()
    if folder.exists():
        return folder
    new = folder.with_name(f"{folder.name}.{os.getpid()}")
    new.mkdir(parents=True)
    shared = ["-O1", "-fPIC", "-w", *(f"-I{path}" for path, _ in _headers())]
    library = [*shared, "-shared"]
    for command in (
        ["g++", *library, "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so.1", HERE / "driver.cpp"],
        ["gcc", *shared, "-c", "-o", "libraries.o", HERE / "libraries.c"],
        ["g++", *library, "-o", "libnullgpu.so", HERE / "runtime.cpp", "libraries.o", "-ldl"],
        ["gcc", *library, "-Wl,-soname,libnvrtc.so.13", "-o", "libnvrtc.so.13", HERE / "nvrtc.c"],
    ):
        subprocess.run(command, cwd=new, check=True)
    new.rename(folder)
    return folder


def run(*command, **options):
    """`subprocess.run` of a Python program on null GPUs; options of `start` and of `Popen`."""
    timeout = options.pop("timeout", None)
    with start(*command, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def start(*command, gpus=1, gib=79, raw=False, paths=(), **options):
    """`subprocess.Popen` of a Python program on so many null GPUs with so much memory each.

    Args:
        *command: what follows the interpreter.
        gpus, gib: int.
        raw: bool, whether a number that is read from a GPU is what lies there; else it is 1, as
            no kernel has computed it.
        paths: folders to import from.
        **options: of `subprocess.Popen`.
    """
    folder = build()
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{folder / 'libnullgpu.so'} {folder / 'libnvrtc.so.13'}",
        "LD_LIBRARY_PATH": str(folder),
        "NULLGPU_LIB": str(folder / "libnullgpu.so"),
        "NULLGPU_COUNT": str(gpus),
        "NULLGPU_GIB": str(gib),
        **({"NULLGPU_RAW": "1"} if raw else {}),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(map(str, [HERE, *paths])),
    }
    return subprocess.Popen([sys.executable, *map(str, command)], env=environment, **options)
