"""Runs a program's statements plain and accelerated, and writes down what they give."""

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import torch
from keras.src.backend.common import dtypes

from tests.native.fuzzing import own_layers, own_steps, parts
from tests.native.fuzzing.noise import pushed

# Of the rule below, and of cuDNN's kernels on weights that lie apart, which only plain Keras shows.
_OF_TORCH = (
    ".*does not have a deterministic implementation",
    "Deterministic behavior was enabled",
    "RNN module weights are not part of single contiguous",
)


@dataclass
class Outcome:
    """What one statement gave: its value, or its error; and the model's state after it."""

    statement: str
    value: object = None
    error: tuple | None = None  # (class, message)
    state: dict = field(default_factory=dict)
    warned: tuple = ()


def namespace(native=False):
    """The names that programs use."""
    names = {**vars(parts), **vars(own_layers), **vars(own_steps)}
    names = {name: value for name, value in names.items() if not name.startswith("__")}
    names |= {"keras_dawn": keras_dawn, "keras": keras, "np": np, "torch": torch}
    if native:
        names |= {"accelerate": keras_dawn.accelerate, "restore": keras_dawn.restore}
    else:
        names |= {"accelerate": lambda model, **_: model, "restore": lambda model: model}
    return names


@contextlib.contextmanager
def precision(name):
    """Keras in a precision; in float64 throughout, what Keras's promotion rules prevent."""
    before = dict(dtypes.BIT64_TO_BIT32_DTYPE)
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    try:
        if name == "float64":
            dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
            keras.config.set_floatx("float64")
        keras.config.set_dtype_policy(name)
        yield
    finally:
        dtypes.BIT64_TO_BIT32_DTYPE.update(before)
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format("channels_last")


@contextlib.contextmanager
def uninitialised_memory_filled():
    """Memory that nothing was written to holds NaN, in every run.

    Plain Keras reads some: where a loss or a layer's constants are made while it only asks for
    shapes. What it reads there would be another number each time.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(program, native, noise=0.0, noise_seed=0):
    """Runs a program.

    Args:
        program: `Program`.
        native: bool, whether `accelerate` is the real one.
        noise: float, relative noise, see `noise.pushed`.
        noise_seed: int.

    Returns:
        `(outcomes, share)`: an `Outcome` for each of the statements that are compared (the
        first that raises is the last), and whether the model stepped natively in the end. An
        error in the statements before gives a single outcome.
    """
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(program.seed % 2**31)
    names = namespace(native)
    outcomes = []
    with (
        pushed(noise, noise_seed),
        precision(program.precision),
        uninitialised_memory_filled(),
        tempfile.TemporaryDirectory() as folder,
    ):
        names["folder"] = Path(folder)
        for statement in program.making():
            outcome = _execute(statement, names)
            if outcome.error:
                return [outcome], False
        for number, statement in enumerate(program.doing()):
            keras.utils.set_random_seed(number)  # the order of shuffled data
            outcome = _execute(statement, names)
            outcome.state = _state(names["model"])
            outcomes.append(outcome)
            if outcome.error:
                break
        return outcomes, native and steps_natively(names["model"])


def steps_natively(model):
    """Whether an accelerated model's last steps were the package's own."""
    engine = engine_of(model)
    return engine is not None and engine.is_native()


def _execute(statement, names):
    outcome = Outcome(statement)
    # torch.fx prints the generated code of a failing step
    silent = contextlib.redirect_stderr(io.StringIO())
    with silent, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2 and Keras's tensors
        for message in _OF_TORCH:
            warnings.filterwarnings("ignore", message)
        try:
            code = compile(statement, "<program>", "eval")
        except SyntaxError:
            code = compile(statement, "<program>", "exec")
        try:
            outcome.value = _plain(eval(code, names))
        except Exception as error:
            outcome.error = type(error), str(error)
    outcome.warned = tuple(sorted({w.category.__name__ for w in caught}))
    return outcome


def _plain(value):
    """A result as NumPy arrays and plain containers, which later steps cannot change."""
    if isinstance(value, keras.callbacks.History):
        return {"history": _plain(value.history), "epoch": list(value.epoch)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, (torch.Tensor, keras.Variable)):
        return np.array(keras.ops.convert_to_numpy(value))
    if isinstance(value, np.ndarray):
        return value.copy()
    if value is None or isinstance(value, (bool, int, float, str, np.generic)):
        return value
    return type(value).__name__


def _state(model):
    """Everything that a model keeps: weights, optimizer, metrics, which of it is trainable."""
    state = {}
    groups = {"weight": model.variables}
    if getattr(model, "optimizer", None) is not None:
        groups["optimizer"] = model.optimizer.variables
    for group, variables in groups.items():
        for number, variable in enumerate(variables):
            state[f"{group} {number} {variable.path}"] = _plain(variable)
    state["trainable"] = [v.path for v in model.trainable_variables]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for metric in model.metrics:
            try:
                state[f"metric {metric.name}"] = _plain(metric.result())
            except Exception as error:
                state[f"metric {metric.name}"] = type(error).__name__
    return state
