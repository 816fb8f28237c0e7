"""Lives of a training that are interrupted, each in a process forked from this one."""

import contextlib
import os
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from keras_dawn.resume import checkpoint_file, last_word
from keras_dawn.resume.restoration import Restoration

import torch

from tests.resume import matrix_training
from tests.resume.matrix_training import REFUSED, train
from tests.resume.this_process import ThisProcess

SIGNALS = ["SIGKILL", "SIGTERM", "SIGINT"]
MOMENTS = ["step", "writing", "validation", "between", "resuming"]
ENDS = {"SIGKILL": {-9}, "SIGTERM": {75}, "SIGINT": {130}}  # how a process ends
UNHEARD = {"SIGTERM": -15}  # while it resumes: before the training listens, signals act as ever
SAYS = "goes on at epoch", "already complete"
SECONDS = 300


class Hurt(ThisProcess):
    """Sends its own process a signal, once, at a moment.

    Args:
        name: one of `SIGNALS`, or `None` for none.
        moment: one of `MOMENTS`.
        count: int from 1 up, at which of such moments.
        note: path, written when it happens.
    """

    def __init__(self, name, moment, count, note):
        super().__init__()
        self.signal, self.moment, self.left, self.note = name, moment, count, Path(note)
        self.epoch = self.batch = -1

    def now(self, moment):
        if self.signal is None or moment != self.moment:
            return
        self.left -= 1
        if self.left == 0:
            self.note.write_text(f"{self.epoch} {self.batch}", encoding="utf-8")
            os.kill(os.getpid(), getattr(signal, self.signal))
            time.sleep(0.001)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.batch = epoch, -1

    def on_train_batch_begin(self, batch, logs=None):
        self.batch = batch
        self.now("step")

    def on_test_batch_begin(self, batch, logs=None):
        self.now("validation")

    def on_epoch_end(self, epoch, logs=None):
        self.now("between")

    def listen(self):
        """Where no callback is called: while a checkpoint is written, and read."""
        written, find, restore = (
            checkpoint_file.written_whole, last_word.find_state, Restoration._restore
        )  # fmt: skip

        @contextlib.contextmanager
        def half_written(path, **how):
            with written(path, **how) as file:
                yield _Halting(file, lambda: self.now("writing"))

        def found(*arguments):
            result = find(*arguments)
            if result[0] is None:
                self.left = min(self.left, 1)  # nothing to restore: it happens now
            self.now("resuming")
            return result

        def restored(restoration):
            self.now("resuming")
            restore(restoration)
            self.now("resuming")

        checkpoint_file.written_whole = half_written
        last_word.find_state, Restoration._restore = found, restored


class _Halting:
    """A file of which a part is written when something happens."""

    def __init__(self, file, happens):
        self._file, self._happens, self._writes = file, happens, 0

    def write(self, content):
        half = len(content) // 2
        self._file.write(content[:half])
        self._writes += 1
        if self._writes == 9:
            self._happens()
        self._file.write(content[half:])
        return len(content)

    def flush(self):
        self._file.flush()


def life(case, folder, seed, interruption=(None, "", 0)):
    """One life in a forked process.

    Returns:
        `(exit code, epoch and batch of the interruption or "" if none happened, what it printed)`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note, said = folder / "happened", folder / "said.txt"
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _be_born(case, folder, seed, Hurt(*interruption, note), said)
    end = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(f"{case} {interruption}: {said.read_text(encoding='utf-8')}")
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # workers that outlive a killed life wait for ever
    code = os.waitstatus_to_exitcode(status)
    happened = note.read_text(encoding="utf-8") if note.exists() else ""
    return code, happened, said.read_text(encoding="utf-8")


def next_words(interruption, happened):
    """What the life after a signal that was heard may say, or `None` if that is open."""
    name, moment, _ = interruption
    if name == "SIGKILL" or moment == "resuming":
        return None
    epoch, batch = map(int, happened.split())
    steps = {"step": [(epoch, batch + 1)]}.get(moment, [(epoch + 1, 0)])
    if moment == "writing":  # a signal in a file of step or epoch is heard after the next step
        steps += [(epoch, batch + 2), (epoch + 1, 1)]
    places = [f"{SAYS[0]} {epoch + 1}, step {step + 1}" for epoch, step in steps]
    if moment in ("step", "writing"):  # a signal in the last step leaves its validation
        places.append(f"{SAYS[0]} {epoch + 1}, after the last of its")
    last = moment != "step" and epoch + 1 == matrix_training.EPOCHS
    return places + [SAYS[1]] * last


def _be_born(case, folder, seed, hurt, said):
    """Trains, and never returns."""
    code = 99
    os.setpgid(0, 0)
    try:
        with said.open("wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.fsync = lambda file: None  # a killed process loses nothing that it has written
        hurt.listen()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            result = train(case, folder, seed, hurt)
        torch.save(result, folder / "result.pt")
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def difference(ours, theirs):
    """What differs between two results, or `None`."""
    for name in ("weights", "optimizer"):
        for number, (a, b) in enumerate(zip(ours[name], theirs[name], strict=True)):
            if not torch.equal(a, b):
                return f"{name} {number}"
    if not torch.equal(ours["random"], theirs["random"]):
        return "random numbers"
    return next((n for n in ("history", "epochs", "files") if ours[n] != theirs[n]), None)


def misplaced(words, said, moment):
    """What is wrong with where a life goes on, or `None`; it may end before it says so."""
    if words is None or any(re.search(rf"{word}\b", said) for word in words):
        return None
    if moment == "resuming" and not any(word in said for word in SAYS):
        return None
    return f"expected {' or '.join(words)}, it said {said[-500:]}"


def run_case(number, case, interruptions, folder):
    """An unbroken training, and one that is interrupted again and again.

    Returns:
        dict: `happened` (list of interruptions that did), `refused` (how often it was at its
        beginning), `native` (how many lives trained natively), `wrong` (list of str).
    """
    folder = Path(folder) / f"{number:03}"
    found = {"happened": [], "refused": 0, "native": 0, "wrong": []}

    def lives(which, *interruption):
        return life(case, folder / which, number, *interruption)

    code, _, said = lives("whole")
    if case[0] in REFUSED:
        found["refused"] += code == 99 and REFUSED[case[0]] in said
        if not found["refused"] or list((folder / "whole" / "checkpoints").glob("*.pt")):
            found["wrong"].append(f"{case} was not refused at its beginning: {code} {said[-500:]}")
        return found
    if code != 0:
        found["wrong"].append(f"{case}, unbroken, ended with {code}: {said[-2000:]}")
        return found
    words = None
    for interruption in interruptions:
        code, happened, said = lives("cut", interruption)
        if wrong := misplaced(words, said, interruption[1]):
            found["wrong"].append(f"{case} before {interruption}: {wrong}")
        if code == 0 and not happened:
            break  # it came to its end before
        unheard = interruption[1] == "resuming" and code == UNHEARD.get(interruption[0])
        if not (code in ENDS[interruption[0]] or unheard) or not happened:
            found["wrong"].append(f"{case} {interruption} ended with {code}: {said[-2000:]}")
            return found
        found["happened"].append((*case, *interruption[:2]))
        if any(word in said for word in SAYS) or interruption[1] != "resuming":
            words = next_words(interruption, happened)
    code, _, said = lives("cut")
    if code != 0:
        found["wrong"].append(f"{case} {interruptions}, last life: {code} {said[-2000:]}")
        return found
    if wrong := misplaced(words, said, "step"):
        found["wrong"].append(f"{case} before its last life: {wrong}")
    whole, cut = (torch.load(folder / which / "result.pt") for which in ("whole", "cut"))
    if what := difference(cut, whole):
        found["wrong"].append(f"{number} {case} {interruptions}: {what} differ")
    found["native"] += (1 + len(found["happened"])) * bool(whole["native"])
    shutil.rmtree(folder)
    return found


def run_cases(part, cases, folder):
    """Runs the cases that no other process has begun, once it has trained; writes what it found."""
    torch.set_num_threads(1)
    for way in matrix_training.WAYS:  # so that what is imported late is imported once
        model = matrix_training.small_model(way, "SGD")
        model.fit(matrix_training.X, matrix_training.Y, 8, verbose=0)
    found, folder = [], Path(folder)
    for number, case, interruptions in cases:
        try:
            (folder / f"begun-{number}").mkdir()
        except FileExistsError:
            continue
        found.append(run_case(number, case, interruptions, folder))
    torch.save(found, folder / f"found-{part}.pt")
