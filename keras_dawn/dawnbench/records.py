"""Run folders: what a training did, in files that outlive it."""

import contextlib
import copy
import csv
import io
import json
import os
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path

from keras_dawn.convolutions import table_in_use
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation.device import default_device
from keras_dawn.foundation.files import utf8, written_whole
from keras_dawn.foundation.precision import onednn_limit, onednn_rounding

import keras
import numpy as np
import torch

_MARK = "unfinished.json"  # in the folder of a run that can go on: which run it is


class RunFolder:
    """A new folder for the files of one run. Nothing in an old one is overwritten.

    Files are written whole or not at all: first beside their place, then moved there. On
    several ranks, rank 0 alone looks at the folder and writes.

    Args:
        path: folder that does not exist yet, or is empty.
        run: dict of plain values that tells a run with checkpoints from others, or `None`. Until
            it is finished (`finish`), the same run takes its folder again when it goes on.

    Attributes:
        is_taken_again: bool, whether an earlier process of the run has written to it, on rank 0.
        is_finished: bool, of a `part` that an earlier process has finished, on rank 0.

    Raises:
        FileExistsError: the folder holds something.

    Example:
        >>> folder = RunFolder("runs/first")                            # doctest: +SKIP
        >>> folder.write_json("run.json", {"accuracy": 94.1})           # doctest: +SKIP
    """

    def __init__(self, path, run=None):
        self.path, self._run, self._made = Path(path).expanduser(), run, []
        self.is_taken_again = self.is_finished = False
        if not current().is_main:
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            if run is not None and _unfinished(self.path) == run:
                self.is_taken_again = True
                return
            raise FileExistsError(
                f"{self.path} exists and is not an empty folder; nothing in it is overwritten. "
                "Give another folder, or move this one away."
            )
        self._made = [one for one in (self.path, *self.path.parents) if not one.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        if run is not None:
            self.write_json(_MARK, run)

    def __repr__(self):
        return f"<RunFolder {self.path}>"

    def part(self, name):
        """The `RunFolder` in it for one training of several, that of an earlier process again."""
        path = self.path / name
        finished = self.is_taken_again and path.is_dir() and _unfinished(path) is None
        if not finished or not any(path.iterdir()):
            return RunFolder(path, self._run)
        part = copy.copy(self)
        part.path, part._made, part.is_finished = path, [], True
        return part

    def finish(self):
        """Says that all is written: nobody takes the folder again."""
        if current().is_main:
            (self.path / _MARK).unlink(missing_ok=True)

    @contextlib.contextmanager
    def removed_if_empty(self):
        """A context that takes the folder away again where it fails before a file is written."""
        try:
            yield self
        except BaseException:
            inner = sorted(self.path.rglob("*"), reverse=True) if current().is_main else []
            if all(one.is_dir() or one.name == _MARK for one in inner):
                for mark in self.path.rglob(_MARK) if inner else ():
                    mark.unlink()
            for folder in (*inner, *self._made):  # from the inside out; only empty ones go
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise

    def write_text(self, name, text):
        """Writes a text file and returns its `Path`."""
        path = self.path / name
        if not current().is_main:
            return path
        with written_whole(path) as file:
            file.write(utf8(text))
        return path

    def write_json(self, name, content):
        """Writes a dict as JSON; what JSON does not know is written as its `str`."""
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        return self.write_text(name, text + "\n")

    def write_history(self, rows, name="history.csv"):
        """Writes a table, one row a dict; columns in the order they first appear."""
        # Epochs differ in their columns: only some are validated.
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return self.write_text(name, text.getvalue())


def _unfinished(path):
    """Which unfinished run a folder is of, `None` where that is not known."""
    try:
        return json.loads((path / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class HistoryWriter(keras.callbacks.Callback):
    """Keeps `history.csv` up to date after every epoch, so that a killed run leaves it.

    Put it last in the list of callbacks: it then sees what the others add to the logs.
    If the disk is full it warns once, and the training goes on.

    Args:
        folder: `RunFolder`.

    Attributes:
        rows: list of dicts, one an epoch: `epoch` (from 1) and the logs as floats; a metric of
            several numbers is a list of them, and text stays text.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.rows = []
        self._warned = False

    def state_dict(self):
        """What `ResumeTraining` saves."""
        return {"rows": self.rows}

    def load_state_dict(self, state):
        """Goes on with the rows of `state_dict`."""
        # In place: whoever holds the list sees the rows of the earlier process too.
        self.rows[:] = state["rows"]

    def on_epoch_end(self, epoch, logs=None):
        values = {name: _plain(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        try:
            self.folder.write_history(self.rows)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"history.csv cannot be written: {error}", stacklevel=2)


def _plain(value):
    """A log as a file can hold it without loss: a float, a list of floats, or as it came."""
    if isinstance(value, (torch.Tensor, keras.Variable)):
        value = keras.ops.convert_to_numpy(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":  # text, or what a callback has put there
        return value
    return array.astype(float).tolist()


def environment():
    """The command, versions and hardware of this process, as a dict for `run.json`.

    `device` is what it computes on, `"cpu"` or `"cuda"`; `convolutions` names the table that its
    convolutions on a CPU go by; `onednn` has what its environment lets oneDNN use of the processor,
    and round products in float32 to.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": hardware(),
        "device": default_device().type,
        "convolutions": table_in_use().identity,
        "onednn": {"instructions": onednn_limit(), "rounding": onednn_rounding()},
        "processes": {
            "world_size": current().world_size,
            "backend": current().backend,
            # torchrun's number of its agents, one a machine.
            "machines": int(os.environ.get("GROUP_WORLD_SIZE", 1)) if current().several else 1,
        },
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def hardware():
    """This process's machine: processor, cores, memory in GiB, GPUs."""
    return {
        "processor": _processor(),
        # The cores that this process may use: in a container fewer than the machine has.
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _versions():
    versions = {}
    for package in ("keras_dawn", "keras", "torch", "torchvision", "numpy", "tensorflow_datasets"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _processor():
    try:
        # `platform.processor` is empty or "x86_64" on Linux.
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
