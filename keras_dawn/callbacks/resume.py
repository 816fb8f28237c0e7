"""Goes on with a training that was cut off, at the step of its last checkpoint."""

import hashlib
import io
import os
import random
import re
import time
import warnings
from pathlib import Path

from keras_dawn.distributed.batch_norm import normalization_layers
from keras_dawn.distributed.collectives import Agreement, gather
from keras_dawn.distributed.ranks import current
from keras_dawn.hyperparameters import available, unwrap
from keras_dawn.native import keras_internals

import keras
import numpy as np
import torch

_FORMAT = 1
_DIGEST_BYTES = 32


class ResumeTraining(keras.callbacks.Callback):
    """Saves everything that a training is, and goes on from the newest whole checkpoint.

    A run that was killed and started again with the same script ends with the same weights as
    one that was not. Saved are the weights, the optimizer with its hyper-parameters, epoch and
    step, the metrics of a half-finished epoch, the history, the state of Python's, NumPy's and
    torch's random numbers of every rank, and whatever is tracked (`track`). On resumption, the
    batches of the epoch that were trained on already are passed over.

    A checkpoint is written beside its place, with its SHA-256, and moved there; a damaged one
    is passed over with a warning, and the one before it is used. Put this last among the
    callbacks. On several ranks the folder must be one that all of them see; rank 0 writes.

    Args:
        directory: folder for the checkpoints.
        every_steps: int, in how many steps within an epoch to save, or `None`.
        every_seconds: float, how long after the last save to save within an epoch, by rank 0's
            clock, or `None`. Without either it saves after every epoch only.
        keep: int from 1 up, how many checkpoints to keep.
        data: what was given to `fit`, if it has `set_epoch` and the model is not accelerated.

    Raises:
        ValueError: bad numbers, or a checkpoint of another model.

    Example:
        >>> resume = ResumeTraining("checkpoints", every_steps=500)     # doctest: +SKIP
        >>> model.fit(train, epochs=30, callbacks=[resume])             # doctest: +SKIP
    """

    def __init__(self, directory, *, every_steps=None, every_seconds=None, keep=2, data=None):
        super().__init__()
        if every_seconds is not None and not every_seconds > 0:
            raise ValueError(f"`every_seconds` must be above 0, got {every_seconds!r}.")
        for name, value in (("every_steps", every_steps), ("keep", keep)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"`{name}` must be a whole number from 1 up, got {value!r}.")
        self.directory = Path(directory)
        self.every_steps, self.every_seconds, self.keep = every_steps, every_seconds, keep
        self._agreement = Agreement()
        self._data = data
        self._tracked = {}
        self._loaded = self._state = None
        self._saved_at = time.monotonic()

    def track(self, name, part):
        """Saves and restores something else, with `state_dict()` and `load_state_dict(state)`."""
        self._tracked[name] = part

    def next_epoch(self):
        """The epoch (0-based) that the training will go on in; 0 without a checkpoint."""
        state = self._load()
        return state["epoch"] if state else 0

    def on_train_begin(self, logs=None):
        state = self._load()
        if state is None or self._state is not None:  # nothing saved, or restored already
            return
        self._state = state
        self._check(state)
        _restore_variables(self.model, state)
        for name, part in self._tracked.items():
            if name in state["tracked"]:
                part.load_state_dict(state["tracked"][name])
        keras_internals.set_first_epoch(self.model, state["epoch"])

    def on_epoch_begin(self, epoch, logs=None):
        keras_internals.set_first_epoch(self.model, 0)
        if self._data is not None:
            self._data.set_epoch(epoch)
        state = self._state
        if state is not None and not state.get("entered"):
            state["entered"] = True
            self._enter(state)
        self._epoch, self._random_at_start = epoch, random_state()
        self._agreement = Agreement()

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        if self._skipping():
            return
        due = bool(self.every_steps) and step % self.every_steps == 0
        if self.every_seconds is not None:
            due = self._time_has_come() or due
        if due and step != self.params.get("steps"):  # the end of the epoch saves that one
            self._save(self._epoch, step, {})

    def _time_has_come(self):
        """Whether `every_seconds` have passed; on several ranks, the same at the same step."""
        passed = time.monotonic() - self._saved_at >= self.every_seconds
        if not current().several:
            return passed
        return bool(self._agreement.exchange(int(passed and current().is_main)))

    def on_epoch_end(self, epoch, logs=None):
        self._save(epoch + 1, 0, {epoch: dict(logs or {})})

    def on_train_end(self, logs=None):
        keras_internals.set_first_epoch(self.model, 0)
        if self._state is not None and not self._state.get("entered"):  # nothing was left to do
            self._state["entered"] = True
            self._restore_history(self._state)

    def _restore_history(self, state):
        history = self.model.history
        history.epoch = list(state["history_epochs"])
        history.history = {name: list(values) for name, values in state["history"].items()}

    def _enter(self, state):
        """Takes up a half-finished epoch, or the beginning of one."""
        self._restore_history(state)
        rank = current().rank
        set_random_state(state["random_at_start"][rank])
        if state["step"]:
            metrics = zip(_metric_variables(self.model), state["metrics"][rank], strict=True)
            for variable, value in metrics:
                variable.value.data.copy_(value)
            self.model.train_function = _PassOver(
                self.model, state["step"], lambda: set_random_state(state["random"][rank])
            )

    def _skipping(self):
        return isinstance(self.model.train_function, _PassOver)

    def _load(self):
        if self._loaded is None:
            self._loaded = (_newest(self.directory),)
        return self._loaded[0]

    def _check(self, state):
        shapes = [tuple(v.shape) for v in self.model.variables]
        if shapes != [tuple(value.shape) for value in state["variables"]]:
            raise ValueError(
                f"The checkpoint in {self.directory} is of another model. Give another folder, or "
                "delete it."
            )
        if len(state["random"]) != current().world_size:
            raise ValueError(
                f"The checkpoint in {self.directory} is of {len(state['random'])} ranks, this is a "
                f"job of {current().world_size}."
            )

    def _save(self, epoch, step, new_logs):
        self._saved_at = time.monotonic()
        self._agreement = Agreement()
        model, optimizer = self.model, unwrap(self.model.optimizer)
        own = {
            "random": random_state(),
            "random_at_start": self._random_at_start if step else random_state(),
            "statistics": [v.value.detach().cpu().clone() for v in _statistics(model)],
            "metrics": [v.value.detach().cpu().clone() for v in _metric_variables(model)],
        }
        ranks = gather(own) if current().several else [own]
        if not current().is_main:
            return
        history = model.history
        epochs, rows = list(history.epoch), {k: list(v) for k, v in history.history.items()}
        for number, logs in new_logs.items():
            epochs.append(number)  # Keras's History runs after this callback
            for name, value in logs.items():
                rows.setdefault(name, []).append(value)
        state = {
            "format": _FORMAT,
            "epoch": epoch,
            "step": step,
            "variables": [v.value.detach().cpu() for v in model.variables],
            "statistics": [own["statistics"] for own in ranks],
            "optimizer": [v.value.detach().cpu() for v in model.optimizer.variables],
            "hyperparameters": {n: getattr(optimizer, n) for n in _plain_numbers(optimizer)},
            "metrics": [own["metrics"] for own in ranks],
            "history_epochs": epochs,
            "history": rows,
            "tracked": {name: part.state_dict() for name, part in self._tracked.items()},
            "random": [own["random"] for own in ranks],
            "random_at_start": [own["random_at_start"] for own in ranks],
        }
        _write(self.directory, f"checkpoint-{epoch:05}-{step:07}.pt", state, self.keep)


class _PassOver:
    """Stands for the train function while batches that were trained on already go by."""

    def __init__(self, model, count, then):
        self._model, self._count, self._then = model, count, then
        self._function = model.train_function

    def __call__(self, batches):
        if self._count:
            self._count -= 1
            return {}
        self._then()
        self._model.train_function = self._function
        return self._function(batches)


def _restore_variables(model, state):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    pairs = [
        *zip(model.variables, state["variables"], strict=True),
        *zip(_statistics(model), state["statistics"][current().rank], strict=True),
        *zip(model.optimizer.variables, state["optimizer"], strict=True),
    ]
    for variable, value in pairs:
        variable.value.data.copy_(value)  # in place: others look at the same memory
    optimizer = unwrap(model.optimizer)
    for name, value in state["hyperparameters"].items():
        setattr(optimizer, name, value)


def _statistics(model):
    """Moving averages, which differ between ranks within an epoch."""
    layers = normalization_layers(model)
    return [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]


def _metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]


def _plain_numbers(optimizer):
    """Hyper-parameters that are Python numbers, not variables."""
    names = available(optimizer)
    return [n for n in names if isinstance(getattr(optimizer, n), (int, float))]


def random_state():
    """The states of Python's, NumPy's and torch's random numbers, as a dict."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state):
    """Puts back what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _write(directory, name, state, keep):
    """Writes a checkpoint whole or not at all, and removes those that are too many."""
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    partial = directory / f".{name}.partial"
    with open(partial, "wb") as file:
        file.write(content)
        file.write(hashlib.sha256(content).digest())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, directory / name)
    _sync_folder(directory)
    for path in _checkpoints(directory)[:-keep]:
        path.unlink()


def _newest(directory):
    """The newest whole checkpoint's state, or `None`."""
    for path in reversed(_checkpoints(directory)):
        content = path.read_bytes()
        content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            # Written by this callback: it holds random states, which are no tensors.
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
        warnings.warn(f"{path} is damaged and passed over.", stacklevel=2)
    return None


def _checkpoints(directory):
    if not directory.is_dir():
        return []
    pattern = re.compile(r"checkpoint-\d{5}-\d{7}\.pt")
    return sorted(path for path in directory.iterdir() if pattern.fullmatch(path.name))


def _sync_folder(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
